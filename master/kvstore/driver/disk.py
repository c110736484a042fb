"""What goes to the disk, in this order: Raft's writes, each with the snapshot it rests on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from master.kvstore.failpoint import hit
from master.kvstore.raft.core import Write
from master.kvstore.wal.log import Wal
from master.kvstore.wal.snapshot import SnapshotDirectory
from master.kvstore.wal.writer import DiskWriter, Job

_SMALL_BYTES = 256 << 10


class Disk:
    def __init__(self, snapshots: SnapshotDirectory) -> None:
        self._snapshots = snapshots
        self._writer: DiskWriter | None = None
        self._received: dict[int, Path] = {}  # installed snapshots that the log does not know yet

    def begin(self, writer: DiskWriter) -> None:
        self._writer = writer

    @property
    def full(self) -> bool:
        return self._writer is not None and self._writer.full

    def expect(self, index: int, received: Path) -> None:
        """The write that says that the log starts after `index` is on its way: with it the
        snapshot that was received becomes this member's own."""
        self._received[index] = received

    def write(self, write: Write, done: Callable[[], None]) -> None:
        received = self._received.pop(write.snapshot.index) if write.snapshot else None

        def job(wal: Wal) -> None:
            if write.snapshot is not None and received is not None:
                hit("snapshot-before-install")
                self._snapshots.install(write.snapshot, received)
                hit("snapshot-after-install")
            wal.append(write.hard_state, write.entries, write.snapshot)

        assert self._writer is not None
        small = sum(len(entry.data) for entry in write.entries) <= _SMALL_BYTES
        if small and write.snapshot is None:
            self._writer.write(job, done)
        else:
            self._writer.submit(job, done)

    def submit(self, job: Job, done: Callable[[], None]) -> None:
        assert self._writer is not None
        self._writer.submit(job, done)

    def stop(self) -> None:
        if self._writer is not None:
            self._writer.stop()
