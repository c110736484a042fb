"""Does every request's answer fit the history, and does every event have a request that made it?"""

from __future__ import annotations

from collections import defaultdict

from tests.robustness.history import Event, Found, Op, Run
from tests.robustness.revisions import Revisions

KEY_VALUE = ("get", "stale", "put", "delete", "txn")


class Effects:
    """`revision_of`: where each request took effect, also those that were never answered.

    `lease_ends`: the revisions at which a lease's keys went without a client's delete.
    """

    def __init__(self, run: Run, history: Revisions) -> None:
        self.problems: list[str] = []
        self.revision_of: dict[int, int] = {}
        self.lease_ends: dict[int, list[int]] = defaultdict(list)
        self.lost: list[Op] = []
        self._history = history
        self._ops = run.ops
        self._maker = {
            write.value: op for op in run.ops for write in op.writes if write.value is not None
        }
        self._answered_at = {op.revision: op for op in run.ops if op.answered and _changes(op)}
        for revision in sorted(history.events):
            self._explain(revision, history.events[revision])
        for op in run.ops:
            if op.answered and op.kind in KEY_VALUE:
                self._check_answer(op)

    def _effect(self, op: Op, revision: int) -> list[tuple[str, str | None]]:
        """What the request does at that revision: to delete nothing is no change."""
        return [
            (write.key, write.value)
            for write in op.writes
            if write.value is not None or self._history.at(write.key, revision - 1) is not None
        ]

    # --- from the events to the requests

    def _explain(self, revision: int, events: list[Event]) -> None:
        changes = [(event.key, event.value) for event in events]
        values = [event.value for event in events if event.value is not None]
        op = self._maker.get(values[0]) if values else self._deleter(revision, events)
        if op is None:
            if values or not self._ended_lease(revision, events):
                self.problems.append(f"revision {revision}: nobody asked for {changes}")
            return
        if op.id in self.revision_of:
            self.problems.append(
                f"revision {revision}: request {op.id} took effect a second time, "
                f"first at {self.revision_of[op.id]}"
            )
        self.revision_of.setdefault(op.id, revision)
        if op.refused or not op.succeeded:
            self.problems.append(
                f"revision {revision}: request {op.id} took effect, but was answered "
                f'"{op.refused or "comparison failed"}"'
            )
        elif op.answered and op.revision != revision:
            self.problems.append(
                f"revision {revision}: request {op.id} took effect here, but was answered "
                f"revision {op.revision}"
            )
        if sorted(changes, key=str) != sorted(self._effect(op, revision), key=str):
            self.problems.append(
                f"revision {revision}: request {op.id} asked for "
                f"{self._effect(op, revision)}, but it changes {changes}"
            )
        if not self._compares_hold(op, revision - 1):
            self.problems.append(
                f"revision {revision}: request {op.id} took effect against its comparisons"
            )

    def _deleter(self, revision: int, events: list[Event]) -> Op | None:
        """Who asked for this deletion: its answer says so, or it had none and would fit."""
        if revision in self._answered_at:
            return self._answered_at[revision]
        changes = sorted(event.key for event in events)
        seen_at = self._history.seen_at[revision]
        for op in self._ops:
            if (
                op.end is None
                and op.writes
                and op.call < seen_at
                and op.id not in self.revision_of
                and all(write.value is None for write in op.writes)
                and sorted(key for key, _ in self._effect(op, revision)) == changes
                and self._compares_hold(op, revision - 1)
            ):
                return op
        return None

    def _ended_lease(self, revision: int, events: list[Event]) -> bool:
        before = [self._history.at(event.key, revision - 1) for event in events]
        leases = {event.lease if event is not None else 0 for event in before}
        if len(leases) != 1 or leases == {0}:
            return False
        self.lease_ends[leases.pop()].append(revision)
        return True

    # --- from the answers to the history

    def _check_answer(self, op: Op) -> None:
        changes = _changes(op)
        if changes and self.revision_of.get(op.id) != op.revision:
            self.lost.append(op)
            self.problems.append(
                f"lost: request {op.id} was acknowledged at revision {op.revision}: {op.writes}"
            )
            return
        if op.compares and self._compares_hold(op, op.revision - changes) != op.succeeded:
            self.problems.append(
                f"request {op.id}: its comparisons {op.compares} gave {op.succeeded} at "
                f"revision {op.revision}"
            )
        self._check_found(op)
        if op.writes and op.succeeded:
            self._check_previous(op, op.revision - changes)

    def _check_found(self, op: Op) -> None:
        expected = [found for what in op.reads for found in self._history.read(what, op.revision)]
        if op.found != expected:
            self.problems.append(
                f"request {op.id} ({op.kind} of {op.reads} at {op.member}) found {op.found} at "
                f"revision {op.revision}, which had {expected}"
            )

    def _check_previous(self, op: Op, before: int) -> None:
        there = [
            Found(write.key, event.value or "", event.mod, event.lease)
            for write in op.writes
            if (event := self._history.at(write.key, before)) is not None
        ]
        if op.previous != there:
            self.problems.append(
                f"request {op.id}: prev_kv says {op.previous}, revision {before} had {there}"
            )
        deleted = sum(
            1 for w in op.writes if w.value is None and any(t.key == w.key for t in there)
        )
        if op.deleted != deleted:
            self.problems.append(f"request {op.id}: deleted {op.deleted} keys, not {deleted}")

    def _compares_hold(self, op: Op, revision: int) -> bool:
        for compare in op.compares:
            event = self._history.at(compare.key, revision)
            if (event.mod if event is not None else 0) != compare.mod:
                return False
        return True


def _changes(op: Op) -> bool:
    """Whether the answer says that something changed: only then is its revision a new one."""
    return op.succeeded and (op.deleted > 0 or any(w.value is not None for w in op.writes))
