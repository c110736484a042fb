"""Committed entries: into the state machine, and from there to whoever is concerned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from master.kvstore.barrier import ReadBarrier
from master.kvstore.driver.replica import Replica
from master.kvstore.driver.snapshots import Snapshots
from master.kvstore.failpoint import hit
from master.kvstore.machine import Applied
from master.kvstore.proposals import Proposals
from master.kvstore.raft.core import Core
from master.kvstore.raft.membership import leave
from master.kvstore.raft.messages import Entry, EntryKind

# These change keys and nothing that a member itself keeps.
_KEYS_ONLY = frozenset(("put", "delete_range", "txn"))


class Applier:
    """First the state changes, then watchers hear of it, then whoever else follows the state
    (`following.py`), then the one who proposed it gets the answer."""

    def __init__(
        self,
        core: Core,
        replica: Replica,
        proposals: Proposals,
        barrier: ReadBarrier,
        snapshots: Snapshots,
        follow: Callable[[Entry, Applied], None],
    ) -> None:
        self.kinds: Counter[str] = Counter({"put": 0, "delete_range": 0, "txn": 0, "compaction": 0})
        self._core = core
        self._replica = replica
        self._proposals = proposals
        self._barrier = barrier
        self._snapshots = snapshots
        self._follow = follow
        self._term = 0

    def apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.data:
                self._apply_one(entry)
            elif entry.kind is EntryKind.CONFIG:
                self._core.apply_membership(leave(self._core.membership))
            if entry.term > self._term:
                self._term = entry.term
                self._proposals.term_applied(entry.term)
        self._replica.applied = entries[-1].index
        self._barrier.applied(self._replica.applied)
        self._snapshots.write_if_due()

    def _apply_one(self, entry: Entry) -> None:
        replica = self._replica
        hit("apply-before")
        applied = replica.machine.apply(entry.data)
        hit("apply-after")
        kind = applied.kind
        if kind in self.kinds:
            self.kinds[kind] += 1
        if applied.changes and replica.hub.streams:
            replica.hub.changed(applied.changes)
        if kind not in _KEYS_ONLY:
            self._follow(entry, applied)
        self._proposals.settle(applied)
