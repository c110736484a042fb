"""This member's own snapshots: the state is written down, then the log behind it is forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kube.component.log import get_logger
from master.kvstore import state
from master.kvstore.driver.disk import Disk
from master.kvstore.driver.lifecycle import Lifecycle
from master.kvstore.driver.limits import Limits
from master.kvstore.driver.replica import Replica
from master.kvstore.failpoint import hit
from master.kvstore.metrics import SNAPSHOT_SAVE
from master.kvstore.raft.core import Core
from master.kvstore.raft.messages import SnapshotMeta
from master.kvstore.wal.snapshot import SnapshotDirectory

log = get_logger(__name__)


class Snapshots:
    def __init__(
        self,
        core: Core,
        replica: Replica,
        directory: SnapshotDirectory,
        disk: Disk,
        life: Lifecycle,
        limits: Limits,
    ) -> None:
        self._core = core
        self._replica = replica
        self._directory = directory
        self._disk = disk
        self._life = life
        self._limits = limits
        self._writing = False

    def capture(self) -> state.Capture:
        """A consistent view of the state as it is now, and the log position it stands for."""
        applied = self._replica.applied
        term = self._core.log.term_at(applied)
        assert term is not None
        meta = SnapshotMeta(applied, term, self._core.membership)
        return state.capture(self._replica.machine, meta)

    def write_if_due(self) -> None:
        if self._writing:
            return
        records = self._replica.machine.mvcc.history().count
        behind = self._replica.applied - self._core.log.snapshot.index
        if behind >= _in_turn(self._core, self._limits.entries_for(records)):
            self._writing = True
            self._life.spawn(self._write(), "snapshot")

    async def _write(self) -> None:
        captured = self.capture()
        meta = captured.meta
        try:
            with SNAPSHOT_SAVE.time():
                path = await asyncio.to_thread(
                    lambda: self._directory.save(meta, state.plan(captured).pages())
                )
        except OSError as error:
            log.error("snapshot not written", error=str(error))
            self._writing = False
            return
        if meta.index <= self._core.log.snapshot.index:
            self._writing = False  # meanwhile a newer one came from the leader
            return
        log.info("snapshot written", index=meta.index, bytes=_size(path))
        self._disk.submit(lambda wal: wal.note_snapshot(meta), lambda: self._noted(meta))

    def _noted(self, meta: SnapshotMeta) -> None:
        self._writing = False
        if meta.index > self._core.log.snapshot.index:
            hit("log-before-compact")
            self._core.compact(meta, self._limits.catchup_entries)
            hit("log-after-compact")
            # In a thread: to delete a large file may take the disk long.
            self._life.spawn(asyncio.to_thread(self._directory.drop_old), "drop-old-snapshots")


def _in_turn(core: Core, entries: int) -> int:
    """All members apply the same entries: each waits for some more than the one before it, so that
    a majority is not writing."""
    everyone = sorted(core.membership.everyone())
    turn = everyone.index(core.id) if core.id in everyone else 0
    return entries + entries * turn // (4 * max(1, len(everyone)))


def _size(path: Path) -> int:
    return path.stat().st_size
