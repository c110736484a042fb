"""Segments of the write-ahead log: append with fdatasync, read back, drop what is not needed.

Blocking calls; `writer` runs them on one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from kube.component.failure import CannotRun
from kube.component.log import get_logger
from master.kvstore.failpoint import hit
from master.kvstore.raft.messages import Entry, HardState, Membership, SnapshotMeta
from master.kvstore.wal import record, sync
from master.kvstore.wal.record import RecordKind, WalCorrupt
from master.kvstore.wal.sync import sync_directory

log = get_logger(__name__)
SEGMENT_BYTES = 16 << 20
_HEAD_RECORDS = 3  # identity, snapshot, hard state


class MemberIdentity(msgspec.Struct, frozen=True, array_like=True):
    """One member as it was when the cluster was made."""

    id: int
    name: str
    peer_urls: tuple[str, ...]


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Whose log this is. Fixed when the member is made; flags cannot change it later."""

    cluster_id: int
    member_id: int
    members: tuple[MemberIdentity, ...]  # the cluster's founders: who counts before the log
    contacts: tuple[MemberIdentity, ...] = ()  # of one that joined: who was there then

    def membership(self) -> Membership:
        return Membership(voters=frozenset(member.id for member in self.members))


class Batch(msgspec.Struct, frozen=True, array_like=True):
    hard_state: HardState
    entries: tuple[Entry, ...] = ()
    last: int = 0  # at the head of a segment: the log's last index at that moment


@dataclass(slots=True)
class Contents:
    """What a log says after replay: the state that was last made durable."""

    identity: Identity | None = None
    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta = field(default_factory=SnapshotMeta)
    entries: list[Entry] = field(default_factory=list)
    last: int = 0  # the log's last index, as far as its segments tell

    def add(self, batch: Batch) -> None:
        if batch.entries:
            self._truncate(batch.entries[0].index)
            self.entries.extend(batch.entries)
            self.last = batch.entries[-1].index
        self.last = batch.last or self.last
        self.hard_state = batch.hard_state

    def _truncate(self, first: int) -> None:
        """A new leader replaced what came from `first` on (Raft paper, 5.3)."""
        if not self.entries:
            return
        if first <= self.entries[-1].index:
            del self.entries[max(0, first - self.entries[0].index) :]
        elif first > self.entries[-1].index + 1:
            raise _missing(self.entries[-1].index + 1, first - 1)

    def start_from(self, snapshot: SnapshotMeta) -> None:
        """Entries that the snapshot covers are not needed; a gap after it means a lost log."""
        self.snapshot = snapshot
        known = {entry.index: entry.term for entry in self.entries}
        if known.get(snapshot.index, snapshot.term) != snapshot.term:
            self.entries, self.last = [], 0
        self.last = max(self.last, snapshot.index)
        self.entries = [entry for entry in self.entries if entry.index > snapshot.index]

    def check_whole(self) -> None:
        """The entries must reach from the snapshot to the end, or some of the log is lost."""
        if self.entries and self.entries[0].index > self.snapshot.index + 1:
            raise _missing(self.snapshot.index + 1, self.entries[0].index - 1)
        reached = self.entries[-1].index if self.entries else self.snapshot.index
        if self.last > reached:
            raise _missing(reached + 1, self.last)


def _missing(first: int, last: int) -> WalCorrupt:
    return WalCorrupt(f"entries {first} to {last} are missing from the log")


class FsyncFailed(CannotRun):
    """The disk did not confirm a write. What it holds is unknown, so the member must stop."""


class Wal:
    """An open log. After an OSError from `append` nothing of that append counts as written."""

    def __init__(
        self,
        directory: Path,
        contents: Contents,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        fsync: Callable[[int], None] = sync.fdatasync,
    ) -> None:
        self.directory = directory
        self.identity = contents.identity
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self._sequence = 0
        self._crc = 0  # of the last record
        self._durable = 0
        self._segments: list[tuple[Path, int]] = []  # (file, last entry index in it)
        self._file = -1
        self._size = 0
        self._hard_state = contents.hard_state
        self._snapshot = contents.snapshot
        self._last = contents.last  # index of the last entry

    # --- starting

    @classmethod
    def create(cls, directory: Path, identity: Identity, **options: Any) -> Wal:
        directory.mkdir(parents=True, exist_ok=True)
        wal = cls(directory, Contents(identity=identity), **options)
        wal._open_segment()
        return wal

    @classmethod
    def open(cls, directory: Path, **options: Any) -> tuple[Wal, Contents]:
        """Replay what is there; cut a torn tail off. WalCorrupt when acknowledged data is lost."""
        contents = Contents()
        wal = cls(directory, contents, **options)
        files = segment_files(directory)
        for path in files:
            wal._replay(path, contents, last=path is files[-1])
        if contents.identity is None:
            raise WalCorrupt(f'"{directory}" holds no readable log segment')
        wal.identity = contents.identity
        wal._hard_state, wal._snapshot = contents.hard_state, contents.snapshot
        wal._last = contents.last
        wal._durable = wal._sequence
        wal._file = os.open(files[-1], os.O_WRONLY | os.O_CLOEXEC)
        os.ftruncate(wal._file, wal._size)
        sync.fsync(wal._file)
        os.lseek(wal._file, 0, os.SEEK_END)
        return wal, contents

    def _replay(self, path: Path, contents: Contents, *, last: bool) -> None:
        data = path.read_bytes()
        offset = records = 0
        for item in record.read(data):
            self._check_place(path, offset, item)
            if self._sequence and item.previous != self._crc:
                break  # a whole record, but of another log
            self._sequence, self._crc = item.sequence, item.crc
            self._take(item, contents)
            offset = item.end
            records += 1
        if offset < len(data) or records < _HEAD_RECORDS:
            # The head was on disk before the segment got its name: it is never a torn tail.
            lost = not last or records < _HEAD_RECORDS
            if lost or not record.is_torn_tail(data, offset, self._sequence):
                raise WalCorrupt(
                    f'"{path}" is damaged at offset {offset}, in data that had been acknowledged. '
                    "Replace this member (member remove, member add, start with an empty data "
                    "directory), or restore a snapshot when no majority is left"
                )
            log.warning("torn tail cut off", segment=path.name, bytes=len(data) - offset)
        self._segments.append((path, _last_index(contents)))
        self._size = offset

    def _check_place(self, path: Path, offset: int, item: record.Record) -> None:
        if self._sequence and item.sequence != self._sequence + 1:
            raise WalCorrupt(
                f'"{path}" offset {offset}: record {item.sequence} follows record '
                f"{self._sequence}; a part of the log is missing"
            )
        if not offset and path.name != segment_name(item.sequence):
            raise WalCorrupt(f'"{path}" begins with record {item.sequence}: it was renamed')

    def _take(self, item: record.Record, contents: Contents) -> None:
        try:
            _apply(item, contents)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise WalCorrupt(
                f'"{self.directory}": record {item.sequence} is of no known form: {error}'
            ) from error

    # --- writing

    @property
    def segment_is_full(self) -> bool:
        """The next append opens another file, which takes longer."""
        return self._size >= self._segment_bytes

    def append(
        self,
        hard_state: HardState,
        entries: Sequence[Entry],
        snapshot: SnapshotMeta | None = None,
    ) -> None:
        """Write and fdatasync. On return it is durable."""
        if self.segment_is_full:
            self._open_segment()
        batch = msgspec.msgpack.encode(Batch(hard_state, tuple(entries)))
        records = [(RecordKind.BATCH, batch)]
        if snapshot is not None:
            records.insert(0, (RecordKind.SNAPSHOT, msgspec.msgpack.encode(snapshot)))
        hit("wal-before-append")
        self._write(*records)
        hit("wal-after-append")
        self._sync()
        hit("wal-after-fsync")
        self._hard_state = hard_state
        if snapshot is not None:
            self._snapshot, self._last = snapshot, snapshot.index
        if entries:
            self._last = entries[-1].index
            path, _ = self._segments[-1]
            self._segments[-1] = (path, self._last)

    def seal(self) -> None:
        """Note, without waiting for the disk, that all so far is durable.

        Without it a damaged last record could not be told from a torn one.
        """
        self._write((RecordKind.SEAL, b""))

    def _write(self, *records: tuple[RecordKind, bytes]) -> None:
        """All of `records` or, as far as a reader can tell, nothing."""
        data, crc = self._encoded(*records)
        try:
            _write_all(self._file, data)
        except OSError:
            # Disk full: take the half-written record back, so that the next attempt follows
            # what is valid.
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            raise
        self._size += len(data)
        self._sequence += len(records)
        self._crc = crc

    def _encoded(self, *records: tuple[RecordKind, bytes]) -> tuple[bytes, int]:
        """The records' bytes, chained to what is there, and the last one's checksum."""
        out, crc = b"", self._crc
        for number, (kind, payload) in enumerate(records, self._sequence + 1):
            encoded = record.encode(kind, number, self._durable, payload, crc)
            crc = record.crc_of(encoded)
            out += encoded
        return out, crc

    def _sync(self) -> None:
        try:
            self._fsync(self._file)
        except OSError as error:
            raise FsyncFailed(f'"{self.directory}": {error}') from error
        self._durable = self._sequence

    def _open_segment(self) -> None:
        """Begin a file: identity and the present hard state first, so that any suffix of the
        segments can be read without the ones before."""
        assert self.identity is not None
        if self._file >= 0:
            # A seal was written without waiting. Lost by a power loss, it would leave a gap
            # before this segment.
            self._sync()
        path = self.directory / segment_name(self._sequence + 1)
        head, crc = self._encoded(
            (RecordKind.IDENTITY, msgspec.msgpack.encode(self.identity)),
            (RecordKind.SNAPSHOT, msgspec.msgpack.encode(self._snapshot)),
            (RecordKind.BATCH, msgspec.msgpack.encode(Batch(self._hard_state, last=self._last))),
        )
        hit("wal-before-segment")
        scratch = path.with_suffix(".tmp")
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, head)
            sync.fsync(descriptor)
            scratch.rename(path)
            sync_directory(self.directory)
        except OSError:
            os.close(descriptor)
            scratch.unlink(missing_ok=True)
            raise
        self.close()
        self._file, self._size = descriptor, len(head)
        self._sequence, self._crc = self._sequence + _HEAD_RECORDS, crc
        self._durable = self._sequence
        hit("wal-after-segment")
        last = self._segments[-1][1] if self._segments else self._snapshot.index
        self._segments.append((path, last))

    def _drop_before(self, index: int) -> None:
        """Delete the segments whose entries are all covered by a snapshot at `index`."""
        while len(self._segments) > 1 and self._segments[0][1] <= index:
            self._segments.pop(0)[0].unlink(missing_ok=True)

    def note_snapshot(self, snapshot: SnapshotMeta) -> None:
        """Record that a snapshot file replaces the entries up to it, then drop those."""
        hit("wal-before-note-snapshot")
        payload = msgspec.msgpack.encode(snapshot)
        self._write((RecordKind.SNAPSHOT, payload))
        self._sync()
        self._snapshot = snapshot
        hit("wal-after-note-snapshot")
        self._drop_before(snapshot.index)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _write_all(descriptor: int, data: bytes) -> None:
    """A disk that is nearly full takes a part and says so only to the next call."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _apply(item: record.Record, contents: Contents) -> None:
    match item.kind:
        case RecordKind.IDENTITY:
            contents.identity = msgspec.msgpack.decode(item.payload, type=Identity)
        case RecordKind.BATCH:
            contents.add(msgspec.msgpack.decode(item.payload, type=Batch))
        case RecordKind.SNAPSHOT:
            meta = msgspec.msgpack.decode(item.payload, type=SnapshotMeta)
            if meta.index > contents.snapshot.index:
                contents.start_from(meta)


def segment_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.wal"))


def segment_name(first_sequence: int) -> str:
    return f"{first_sequence:016x}.wal"


def _last_index(contents: Contents) -> int:
    return contents.entries[-1].index if contents.entries else contents.snapshot.index
