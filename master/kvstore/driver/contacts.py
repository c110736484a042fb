"""The other members: who they are at any time, and the connections to them."""

from __future__ import annotations

from master.kvstore.driver.lifecycle import Lifecycle
from master.kvstore.driver.replica import Replica
from master.kvstore.transport.frames import Hello
from master.kvstore.transport.peer import PeerClient
from master.kvstore.transport.peers import Peers
from master.kvstore.wal.log import Identity


class Contacts:
    """The connections follow the log's list of members. Who was added may dial in before the log
    has told of it, and may have to answer before its own log tells it anything."""

    def __init__(
        self, identity: Identity, replica: Replica, life: Lifecycle, election_ticks: int
    ) -> None:
        self.clients: dict[int, PeerClient] = {}
        self._identity = identity
        self._id = identity.member_id
        self._replica = replica
        self._life = life
        self._last_ticks = election_ticks // 2
        self._peers: Peers | None = None
        self._heard_of: dict[int, str] = {}  # members that dialled in before the log told of them
        self._moved = False
        self._removed_ticks = 0

    def connect(self, peers: Peers) -> None:
        """From now on talk to the members, whoever they are at any time."""
        self._peers = peers
        self.clients = peers.clients
        self.follow()

    def connected(self) -> set[int]:
        """The members that can be reached now, this one included."""
        return {self._id, *(peer for peer, client in self.clients.items() if client.connected)}

    def members_changed(self) -> None:
        """Followed by `follow_if_changed`, not at once: who was removed is to hear of it, and
        what says so may not have been sent yet."""
        self._moved = True

    def follow_if_changed(self) -> None:
        if self._moved:
            self._moved = False
            self.follow()

    def follow(self) -> None:
        if self._peers is None:
            return
        known = self._replica.machine.members
        urls = dict(self._heard_of)
        if self._id not in known and self._id not in known.removed:
            # Added, but the log has not told yet: answer those who were there.
            urls |= {member.id: member.peer_urls[0] for member in self._identity.contacts}
        urls |= {member.ID: member.peerURLs[0] for member in known.listed()}
        self._peers.follow(
            {m: url for m, url in urls.items() if m != self._id and m not in known.removed}
        )

    def greeted(self, hello: Hello) -> None:
        """A member dialled in. One that the log has not told of yet may even be the leader."""
        known = self.clients.get(hello.sender)
        if known is not None:
            known.is_there()
        elif hello.sender != self._id and hello.peer_urls:
            self._heard_of[hello.sender] = hello.peer_urls[0]
            self.follow()

    def was_removed(self, member: int) -> bool:
        return member in self._replica.machine.members.removed

    def leave_if_removed(self) -> None:
        """At each tick. Stop, but not before the others have had the answers that end the
        change."""
        if self.was_removed(self._id):
            self._removed_ticks += 1
            if self._removed_ticks > self._last_ticks:
                self._life.leave_cluster()
