"""The bytes of a log segment, without a file: framing, checksums, and judging a broken end.

Layout of a record, little-endian: magic (u32), payload length (u32), crc32 (u32) of all that
follows, the crc32 of the record before (u32), kind (u8), sequence number (u64), durable (u64),
payload. `sequence` counts records over all segments, so a lost one shows; `previous` chains them,
so that one of another log shows, too. `durable` is the number of the last record that was known
to be on disk when this one was written: it tells a torn tail (nothing later was ever
acknowledged) from corruption (the broken record had been fsynced).
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from kube.component.failure import CannotRun

_HEADER = struct.Struct("<IIIIBQQ")
_MAGIC = 0x4C41574D  # "MWAL"
_MAGIC_BYTES = _MAGIC.to_bytes(4, "little")
_CHECKED_FROM = 12  # the crc covers everything after itself
MAX_PAYLOAD = 256 << 20


class RecordKind(enum.IntEnum):
    IDENTITY = 1  # whose log this is; the first record of each segment
    BATCH = 2  # a hard state and entries
    SNAPSHOT = 3  # entries up to here are replaced by a snapshot file
    SEAL = 4  # says only that everything before it is on disk


class WalCorrupt(CannotRun):
    """The log was damaged after it had been acknowledged. The member must not start from it."""


@dataclass(frozen=True, slots=True)
class Record:
    kind: RecordKind
    sequence: int
    durable: int
    payload: bytes
    previous: int = 0  # the crc of the record before
    crc: int = 0
    end: int = 0  # offset in the segment just behind it


def encode(
    kind: RecordKind, sequence: int, durable: int, payload: bytes, previous: int = 0
) -> bytes:
    tail = _HEADER.pack(0, 0, 0, previous, kind, sequence, durable)[_CHECKED_FROM:]
    crc = zlib.crc32(payload, zlib.crc32(tail))
    return struct.pack("<III", _MAGIC, len(payload), crc) + tail + payload


def crc_of(encoded: bytes) -> int:
    """The checksum that the record after this one names."""
    return int.from_bytes(encoded[_CHECKED_FROM - 4 : _CHECKED_FROM], "little")


def _decode_at(data: memoryview, offset: int) -> Record | None:
    """The whole and undamaged record at `offset`, or None."""
    if offset + _HEADER.size > len(data):
        return None
    magic, length, crc, previous, kind, sequence, durable = _HEADER.unpack_from(data, offset)
    end = offset + _HEADER.size + length
    if magic != _MAGIC or length > MAX_PAYLOAD or end > len(data):
        return None
    if zlib.crc32(data[offset + _CHECKED_FROM : end]) != crc:
        return None
    try:
        known = RecordKind(kind)
    except ValueError:
        return None
    payload = bytes(data[offset + _HEADER.size : end])
    return Record(known, sequence, durable, payload, previous, crc, end)


def read(segment: bytes) -> Iterator[Record]:
    """The undamaged records from the start of a segment."""
    data = memoryview(segment)
    offset = 0
    while (record := _decode_at(data, offset)) is not None:
        yield record
        offset = record.end


def is_torn_tail(segment: bytes, offset: int, last_sequence: int) -> bool:
    """Whether what follows `offset` can be the remains of writes that nobody was told of.

    A crash may leave any mixture of old and new pages after the last fsync, whole records
    included. But a record that calls a number above `last_sequence` durable proves that the
    broken one had been on disk.
    """
    data = memoryview(segment)
    position = segment.find(_MAGIC_BYTES, offset)
    while position >= 0:
        record = _decode_at(data, position)
        if record is not None and record.durable > last_sequence:
            return False
        position = segment.find(_MAGIC_BYTES, position + 1)
    return True
