"""Snapshot files: a bbolt database with etcd's buckets, then its sha256. etcdctl reads them.

One format for all: the files beside the log, what a leader sends to a follower that lags, what
`Maintenance.Snapshot` streams to clients. Wherever one is read, the hash is checked first.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from itertools import count
from pathlib import Path
from typing import BinaryIO

from kube.component.failure import CannotRun
from master.kvstore.bolt.reader import Database
from master.kvstore.failpoint import hit
from master.kvstore.raft.messages import SnapshotMeta
from master.kvstore.wal.sync import fdatasync, fsync, sync_directory

HASH_BYTES = hashlib.sha256().digest_size
_PIECE = 256 << 10
_STREAM_PIECE = 64 << 10
# A database is whole pages, so a file of this many bytes more has the hash behind it.
_SECTOR = 512
# Synced so often while it is written: where the disk has hundred megabytes to take at once, the
# log's next entries wait behind them.
_SYNC_BYTES = 1 << 20
_KEEP_FILES = 3
_numbers = count(1)


class SnapshotCorrupt(CannotRun):
    """A snapshot does not have the hash that it says it has, or is no snapshot."""


def stream(pages: Iterable[bytes]) -> Iterator[bytes]:
    """The file in pieces of a handy size: the database's pages, then their sha256."""
    digest = hashlib.sha256()
    gathered: list[bytes] = []
    size = 0
    for page in pages:
        gathered.append(page)
        size += len(page)
        if size >= _STREAM_PIECE:
            piece = b"".join(gathered)
            digest.update(piece)
            yield piece
            gathered, size = [], 0
    piece = b"".join(gathered)
    digest.update(piece)
    yield piece + digest.digest()


@contextmanager
def opened(path: Path, *, check: bool = True) -> Iterator[Database]:
    """The database in a snapshot file, once its hash is found to be right."""
    with path.open("rb") as source:
        whole = os.fstat(source.fileno()).st_size
        hashed = whole % _SECTOR == HASH_BYTES
        size = whole - HASH_BYTES if hashed else whole
        if size <= 0 or size % _SECTOR:
            raise SnapshotCorrupt(f'"{path}": not a snapshot: {whole} bytes are no whole pages')
        if check and not hashed:
            raise SnapshotCorrupt(f'"{path}": there is no sha256 at its end')
        if check:
            _check_hash(source, size)
        with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield Database(data, size)


def _check_hash(source: BinaryIO, size: int) -> None:
    digest = hashlib.sha256()
    for piece in _up_to(source, size):
        digest.update(piece)
    if digest.digest() != source.read():
        raise SnapshotCorrupt(f'"{source.name}": the sha256 does not match the content')


def _up_to(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (piece := source.read(min(_PIECE, size))):
        size -= len(piece)
        yield piece


def _write_all(file: FileIO, data: bytes) -> None:
    """A disk that is nearly full takes a part and says so only to the next call."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


class Incoming:
    """A snapshot that another member is sending, as far as it is on disk. Blocking calls."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._lock = threading.Lock()
        self._file = path.open("r+b" if size else "wb", buffering=0)
        self._file.truncate(size)
        self._file.seek(size)

    def add(self, data: bytes) -> None:
        with self._lock:
            _write_all(self._file, data)
            self.size += len(data)

    def finish(self) -> Path:
        """All is there: make it durable. It gets a name of its own, so that the same snapshot,
        sent once more before this one is installed, is another file."""
        with self._lock:
            fsync(self._file.fileno())
            self._file.close()
        return self.path.rename(self.path.with_suffix(f".{next(_numbers)}.received"))

    def close(self) -> None:
        with self._lock:
            self._file.close()


class SnapshotDirectory:
    """The snapshot files of a member. Blocking calls."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._incoming: Incoming | None = None

    def path(self, meta: SnapshotMeta) -> Path:
        return self.directory / f"{meta.index:016x}-{meta.term:016x}.snap"

    def save(self, meta: SnapshotMeta, pages: Iterable[bytes]) -> Path:
        """Write, fsync, rename: the name exists only with the whole content."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.path(meta)
        self._write(path, stream(pages))
        return path

    def _write(self, path: Path, pieces: Iterable[bytes]) -> None:
        hit("snapshot-before-write")
        scratch = path.with_suffix(".tmp")
        unsynced = 0
        try:
            with scratch.open("wb", buffering=0) as out:
                for piece in pieces:
                    _write_all(out, piece)
                    unsynced += len(piece)
                    if unsynced >= _SYNC_BYTES:
                        fdatasync(out.fileno())
                        unsynced = 0
                fsync(out.fileno())
            self._publish(scratch, path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise

    def _publish(self, scratch: Path, path: Path) -> None:
        hit("snapshot-before-rename")
        scratch.rename(path)
        sync_directory(self.directory)
        hit("snapshot-after-rename")

    def install(self, meta: SnapshotMeta, received: Path) -> None:
        """Keep what a leader sent and what was checked already. May be repeated."""
        if received.exists() or not self.path(meta).exists():
            self._publish(received, self.path(meta))

    def newest(self) -> Path | None:
        """The newest snapshot's file, or None when there is none."""
        return max(self.directory.glob("*.snap"), default=None)

    def drop_old(self) -> None:
        for path in sorted(self.directory.glob("*.snap"))[:-_KEEP_FILES]:
            path.unlink(missing_ok=True)

    def drop_unfinished(self) -> None:
        """What a process that ended in the middle has left. Not while anything is under way."""
        for pattern in ("*.tmp", "*.part", "*.received"):
            for path in self.directory.glob(pattern):
                path.unlink(missing_ok=True)

    def incoming(self, sender: int, meta: SnapshotMeta) -> Incoming:
        """Where what `sender` sends of `meta` goes: on from where an attempt broke off."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{self.path(meta).stem}-{sender:x}.part"
        before, size = self._incoming, 0
        if before is not None:
            before.close()  # its connection may not know yet that it is dead
            if before.path == path and path.exists():
                size = before.size
            else:
                before.path.unlink(missing_ok=True)
        self._incoming = Incoming(path, size)
        return self._incoming

    def pieces(self, path: Path, start: int = 0) -> Iterator[bytes]:
        """The file's bytes from `start` on; FileNotFoundError at once, not later."""
        return self._pieces(path.open("rb"), start)

    def _pieces(self, source: BinaryIO, start: int) -> Iterator[bytes]:
        with source:
            source.seek(start)
            while piece := source.read(_PIECE):
                yield piece
