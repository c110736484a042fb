"""ReadIndex: linearizable reads without a log entry (dissertation 6.4), asked for in batches."""

from __future__ import annotations

from dataclasses import dataclass, field

from master.kvstore.raft.messages import Membership
from master.kvstore.raft.quorum import has_quorum


@dataclass(frozen=True, slots=True)
class Read:
    """A read that may be served once `index` is applied. `origin` asked, with `context`."""

    origin: int
    context: bytes
    index: int = 0


@dataclass(slots=True)
class ReadQueue:
    """One confirmation round at a time; reads that arrive meanwhile share the next one.

    A round takes the commit index first and then hears from a quorum that nobody else leads, so
    it never needs a lease or a clock.
    """

    round: int = 0
    _index: int = 0
    _confirming: list[Read] = field(default_factory=list)
    _waiting: list[Read] = field(default_factory=list)
    _acks: set[int] = field(default_factory=set)

    def add(self, read: Read) -> None:
        self._waiting.append(read)

    @property
    def idle(self) -> bool:
        return not self._confirming

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def context(self) -> bytes:
        """What heartbeats carry while a round is under way."""
        return self.round.to_bytes(8, "big") if self._confirming else b""

    def start(self, commit: int, own_id: int) -> None:
        self.round += 1
        self._index = commit
        self._confirming, self._waiting = self._waiting, []
        self._acks = {own_id}

    def acknowledge(self, sender: int, context: bytes) -> None:
        if context and int.from_bytes(context, "big") == self.round:
            self._acks.add(sender)

    def confirmed(self, membership: Membership) -> list[Read]:
        """The reads of the round, once a quorum has answered."""
        if not self._confirming or not has_quorum(membership, self._acks):
            return []
        done, self._confirming = self._confirming, []
        return [Read(read.origin, read.context, self._index) for read in done]

    def reset(self) -> None:
        """Leadership is lost: whoever waits asks the next leader."""
        self._confirming, self._waiting = [], []
