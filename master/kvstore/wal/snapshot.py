"""Snapshot files: a header, the state machine's bytes, a sha256 over both.

The same stream, by the same functions, is what `Maintenance.Snapshot` sends to clients and what
a leader sends to a follower that lags: wherever one is read, the hash is checked first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from master.kvstore.failpoint import hit
from master.kvstore.raft.messages import SnapshotMeta
from master.kvstore.wal.sync import fsync, sync_directory
from muster.component.failure import CannotRun

_MAGIC = b"MUSTERKV"
_LENGTH_BYTES = 4
_PIECE = 1 << 20
# etcdctl takes a snapshot's last 32 bytes for a checksum when its size is 32 modulo this.
_SECTOR = 512
_KEEP_FILES = 3


class SnapshotCorrupt(CannotRun):
    """A snapshot does not have the hash that it says it has, or is no snapshot."""


def encode(meta: SnapshotMeta, body: Iterable[bytes]) -> Iterator[bytes]:
    """The stream: magic, header length, header, body length, body, zeros, sha256."""
    digest = hashlib.sha256()
    size = 0
    head = msgspec.msgpack.encode(meta)
    pieces = list(body)
    length = sum(map(len, pieces))
    lead = _MAGIC + len(head).to_bytes(_LENGTH_BYTES, "big") + head + length.to_bytes(8, "big")
    for piece in (lead, *pieces):
        digest.update(piece)
        size += len(piece)
        yield piece
    padding = bytes(-size % _SECTOR)
    digest.update(padding)
    yield padding + digest.digest()


def decode(data: bytes) -> tuple[SnapshotMeta, memoryview]:
    """Check the hash, then take the stream apart."""
    view = memoryview(data)
    if len(data) < _SECTOR + 32 or not data.startswith(_MAGIC):
        raise SnapshotCorrupt("not a snapshot of this store")
    if hashlib.sha256(view[:-32]).digest() != bytes(view[-32:]):
        raise SnapshotCorrupt("the snapshot's sha256 does not match its content")
    start = len(_MAGIC) + _LENGTH_BYTES
    head = start + int.from_bytes(view[len(_MAGIC) : start], "big")
    meta = msgspec.msgpack.decode(view[start:head], type=SnapshotMeta)
    length = int.from_bytes(view[head : head + 8], "big")
    return meta, view[head + 8 : head + 8 + length]


class SnapshotDirectory:
    """The snapshot files of a member. Blocking calls."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, meta: SnapshotMeta) -> Path:
        return self.directory / f"{meta.index:016x}-{meta.term:016x}.snap"

    def save(self, meta: SnapshotMeta, body: Iterable[bytes]) -> Path:
        """Write, fsync, rename: the name exists only with the whole content."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.path(meta)
        self._write(path, encode(meta, body))
        return path

    def _write(self, path: Path, pieces: Iterable[bytes]) -> None:
        hit("snapshot-before-write")
        scratch = path.with_suffix(".tmp")
        try:
            with scratch.open("wb") as out:
                for piece in pieces:
                    out.write(piece)
                out.flush()
                fsync(out.fileno())
            hit("snapshot-before-rename")
            scratch.rename(path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
        sync_directory(self.directory)
        hit("snapshot-after-rename")

    def install(self, meta: SnapshotMeta, data: bytes) -> None:
        """Keep a whole stream that a leader sent and that was checked already."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write(self.path(meta), [data])

    def newest(self) -> tuple[SnapshotMeta, memoryview] | None:
        """The newest snapshot, or None when there is none. SnapshotCorrupt when it is damaged."""
        for path in sorted(self.directory.glob("*.snap"), reverse=True):
            try:
                return decode(path.read_bytes())
            except SnapshotCorrupt as error:
                raise SnapshotCorrupt(f'"{path}": {error}') from error
        return None

    def drop_old(self) -> None:
        for path in sorted(self.directory.glob("*.snap"))[:-_KEEP_FILES]:
            path.unlink(missing_ok=True)
        for path in self.directory.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def pieces(self, path: Path, start: int = 0) -> Iterator[bytes]:
        """The file's bytes from `start` on; FileNotFoundError at once, not later."""
        return self._pieces(path.open("rb"), start)

    def _pieces(self, source: BinaryIO, start: int) -> Iterator[bytes]:
        with source:
            source.seek(start)
            while piece := source.read(_PIECE):
                yield piece
