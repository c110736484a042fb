"""What comes in from the other members: Raft's messages, snapshots, and word that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from kube.component.log import get_logger
from master.kvstore import state
from master.kvstore.driver.disk import Disk
from master.kvstore.errors import StoreError
from master.kvstore.machine import Machine
from master.kvstore.raft.core import Core
from master.kvstore.raft.messages import Message, MessageType, SnapshotMeta
from master.kvstore.wal.snapshot import Incoming, SnapshotCorrupt, SnapshotDirectory

log = get_logger(__name__)


class Inbox:
    def __init__(
        self,
        core: Core,
        snapshots: SnapshotDirectory,
        disk: Disk,
        *,
        install: Callable[[SnapshotMeta, Machine], None],
        pump: Callable[[], None],
        schedule_pump: Callable[[], None],
    ) -> None:
        self._core = core
        self._snapshots = snapshots
        self._disk = disk
        self._install = install
        self._pump = pump
        self._schedule_pump = schedule_pump

    def receive(self, messages: Sequence[Message]) -> None:
        """Messages of another member. Garbage that decodes is Raft's business to survive."""
        core = self._core
        for message in messages:
            if message.to == core.id and message.type is not MessageType.SNAPSHOT:
                core.step(message)
        self._schedule_pump()

    def incoming(self, sender: int, meta: SnapshotMeta) -> Incoming:
        """Where a snapshot that `sender` is about to send is kept."""
        return self._snapshots.incoming(sender, meta)

    async def receive_snapshot(self, message: Message, received: Path) -> None:
        """A leader sent its state. Checked and decoded before Raft hears of it."""
        try:
            meta, machine = await asyncio.to_thread(state.load, received)
            if meta is None or meta != message.snapshot:
                raise SnapshotCorrupt("it is not the snapshot that was announced")
        except SnapshotCorrupt as error:
            received.unlink(missing_ok=True)
            log.error("snapshot refused", sender=f"{message.sender:x}", error=str(error))
            raise StoreError(f"snapshot refused: {error}") from error
        before = self._core.log.applied
        self._core.step(message)
        if self._core.log.applied > before:
            # At once, although the disk may still be busy with an earlier write: what Raft hands
            # out to be applied from now on follows the snapshot.
            self._install(meta, machine)
            self._disk.expect(meta.index, received)
        else:
            received.unlink(missing_ok=True)  # Raft had no use for it
        self._pump()

    def peer_gone(self, peer: int) -> None:
        if peer == self._core.leader:
            self._core.suspect_leader()

    def peer_unreachable(self, peer: int) -> None:
        self._core.report_unreachable(peer)
