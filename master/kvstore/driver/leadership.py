"""Who leads, as this member knows it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from kube.component.log import get_logger
from master.kvstore.driver.contacts import Contacts
from master.kvstore.errors import (
    LearnerNotReady,
    LeaseNotFound,
    NoLeader,
    NotEnoughStarted,
    StoreError,
)
from master.kvstore.raft.core import Core, Role
from master.kvstore.raft.messages import NOBODY

log = get_logger(__name__)

_REQUEST_SECONDS = 2.0
_PATIENCE_TIMEOUTS = 3  # after so many election timeouts streams that asked for it end
# What a leader's refusal is called between members.
_ERRORS: dict[bytes, type[StoreError]] = {
    error.__name__.encode(): error for error in (LeaseNotFound, LearnerNotReady, NotEnoughStarted)
}


class Leadership:
    def __init__(
        self,
        core: Core,
        contacts: Contacts,
        election_seconds: float,
        on_change: Callable[[float], None],
    ) -> None:
        self.changes = 0
        self._core = core
        self._contacts = contacts
        self._patience_seconds = _PATIENCE_TIMEOUTS * election_seconds
        self._on_change = on_change
        self._leader = NOBODY
        self._lost_at: float | None = monotonic()
        self._on_leaderless: set[Callable[[], None]] = set()

    @property
    def known(self) -> bool:
        return self._core.leader != NOBODY

    @property
    def mine(self) -> bool:
        return self._core.role is Role.LEADER

    def notice(self) -> None:
        """Tell of it when somebody else leads than last time, or nobody."""
        leader = self._core.leader
        if leader == self._leader:
            return
        self._leader = leader
        now = monotonic()
        if leader == NOBODY:
            self._lost_at = now
        else:
            self._lost_at = None
            self.changes += 1
        self._on_change(now)
        log.info("leader changed", leader=f"{leader:x}", term=self._core.term)

    def on_leaderless(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when the cluster has been without a leader for long. Returns the undo."""
        self._on_leaderless.add(callback)
        return lambda: self._on_leaderless.discard(callback)

    def tell_leaderless(self, now: float) -> None:
        if self._lost_at is not None and now - self._lost_at > self._patience_seconds:
            for callback in list(self._on_leaderless):
                callback()

    def best_heir(self) -> int:
        """The voter within reach that has most of the log; NOBODY when there is none."""
        connected = self._contacts.connected()
        others = {
            member: progress.match
            for member, progress in self._core.progress.items()
            if self._core.membership.votes(member) and member in connected
        }
        return max(others, key=lambda member: others[member], default=NOBODY)

    async def ask(self, method: str, payload: bytes) -> bytes:
        """What only the leader knows. Raises what it refuses with."""
        peer = self._contacts.clients.get(self._core.leader)
        if peer is None:
            raise NoLeader
        answer = await peer.request(method, payload, _REQUEST_SECONDS)
        if answer.ok:
            return answer.payload
        raise _ERRORS.get(answer.payload, NoLeader)
