"""What Raft says to the other members."""

from __future__ import annotations

from collections.abc import Callable

from kube.component.log import get_logger
from master.kvstore.driver.contacts import Contacts
from master.kvstore.driver.lifecycle import Lifecycle
from master.kvstore.raft.core import Core
from master.kvstore.raft.messages import Message, MessageType
from master.kvstore.transport.peer import PeerClient
from master.kvstore.wal.snapshot import SnapshotDirectory

log = get_logger(__name__)


class Outbox:
    """Messages wait for `flush`, which sends all that one member is to hear in one frame. A
    snapshot takes its time beside everything else."""

    def __init__(
        self,
        core: Core,
        contacts: Contacts,
        snapshots: SnapshotDirectory,
        life: Lifecycle,
        schedule_pump: Callable[[], None],
    ) -> None:
        self._core = core
        self._contacts = contacts
        self._snapshots = snapshots
        self._life = life
        self._schedule_pump = schedule_pump

    def send(self, message: Message) -> None:
        peer = self._contacts.clients.get(message.to)
        if peer is None:
            return
        if message.type is MessageType.SNAPSHOT:
            self._life.spawn(self._send_snapshot(peer, message), f"snapshot-{peer.id:x}")
        else:
            peer.send(message)

    def flush(self) -> None:
        for peer in self._contacts.clients.values():
            peer.flush()

    async def _send_snapshot(self, peer: PeerClient, message: Message) -> None:
        assert message.snapshot is not None
        path = self._snapshots.path(message.snapshot)
        log.info("sending snapshot", peer=f"{peer.id:x}", index=message.snapshot.index)
        try:
            delivered = await peer.send_snapshot(
                message, lambda start: self._snapshots.pieces(path, start)
            )
        except FileNotFoundError:
            delivered = False  # a newer one took its place: the core will name that
        self._core.report_snapshot(peer.id, delivered=delivered)
        self._schedule_pump()
