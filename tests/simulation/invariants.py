"""What must hold in every state of the cluster (Raft paper, figure 3), judged with knowledge that
no member has.

`Checker.observe` runs after every step. It compares with what it saw of that member last and looks
only at what is new; entries are immutable, so an unchanged list needs no second look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from master.kvstore.raft.core import Core, Role
from master.kvstore.raft.messages import Entry, EntryKind, Membership, Message
from tests.simulation.disk import Disk


@dataclass
class _View:
    """One member as it was when it was last looked at."""

    role: Role
    term: int
    commit: int = 0
    offset: int = 0
    entries: list[Entry] = field(default_factory=list)

    def entry(self, index: int) -> Entry | None:
        position = index - self.offset - 1
        return self.entries[position] if 0 <= position < len(self.entries) else None


class Checker:
    """Knows every leader, every entry and every commit there ever was."""

    def __init__(self, disks: Mapping[int, Disk], cores: Mapping[int, Core]) -> None:
        self._disks = disks
        self._cores = cores
        self._views: dict[int, _View] = {}
        self._seen: dict[
            tuple[int, int], tuple[bytes, int]
        ] = {}  # (index, term): data, term before
        self._votes: dict[tuple[int, int], int] = {}  # (member, term): candidate
        self._memberships: dict[int, Membership] = {}  # index: what counts from there on
        self.leaders: dict[int, int] = {}  # term: member
        self.committed: dict[int, Entry] = {}
        self.last_committed = 0
        self._committed_in: dict[int, int] = {}  # index: term of the leader that committed it
        self.applied: dict[int, int] = {}

    def started(self, member: int) -> None:
        """A member begins from its disk: nothing of what it had in memory is left."""
        snapshot = self._disks[member].snapshot
        self._views[member] = _View(Role.FOLLOWER, self._disks[member].hard_state.term)
        self.applied[member] = snapshot.index if snapshot else 0

    def observe(self, member: int) -> None:
        core, view = self._cores[member], self._views[member]
        log = core.log
        moved = core.term != view.term or core.role is not view.role
        if log.offset != view.offset or log.entries != view.entries:
            self._check_log(core, view)
            view.offset, view.entries = log.offset, list(log.entries)
        if moved:
            self._check_role(core, view)
            view.role, view.term = core.role, core.term
        if log.commit != view.commit:
            self._check_commit(core, view)
            view.commit = log.commit

    def _check_role(self, core: Core, view: _View) -> None:
        assert core.term >= view.term, f"{core.id} went back to term {core.term}"
        if core.role is not Role.LEADER:
            return
        known = self.leaders.setdefault(core.term, core.id)
        assert known == core.id, f"two leaders in term {core.term}: {known} and {core.id}"
        for index in range(core.log.offset + 1, self.last_committed + 1):
            self._check_complete(core, index)

    def _check_complete(self, leader: Core, index: int) -> None:
        """Leader Completeness: what was committed in earlier terms is in a leader's log. An entry
        may well be older than the term in which it was committed: leaders in between, that were
        replaced and do not know it yet, need not have it."""
        entry = self.committed[index]
        if self._committed_in[index] < leader.term and index > leader.log.offset:
            assert leader.log.term_at(index) == entry.term, f"leader {leader.id} lacks {index}"

    def _check_log(self, core: Core, view: _View) -> None:
        """Log Matching, Leader Append-Only, and that what is committed stays."""
        log = core.log
        if log.offset != view.offset and (known := self.committed.get(log.offset)) is not None:
            assert log.offset_term == known.term, f"{core.id} begins after a wrong {log.offset}"
        previous = log.offset_term
        for position, entry in enumerate(log.entries):
            index = log.offset + 1 + position
            before = view.entry(index)
            if before is not entry:
                assert entry.index == index, f"{core.id} has {entry.index} at {index}"
                known_data = self._seen.setdefault((index, entry.term), (entry.data, previous))
                assert known_data == (entry.data, previous), f"logs differ at {index}"
                if before is not None and before != entry:
                    assert index > view.commit, f"{core.id} replaced the committed {index}"
                    self._check_append_only(core, view, index)
                if entry.kind is EntryKind.CONFIG:
                    self._check_one_change(core, index)
            previous = entry.term
        if log.last_index < view.offset + len(view.entries):
            assert log.last_index >= view.commit, f"{core.id} lost committed entries"
            self._check_append_only(core, view, log.last_index + 1)

    def _check_append_only(self, core: Core, view: _View, index: int) -> None:
        still = core.role is view.role is Role.LEADER and core.term == view.term
        assert not still, f"leader {core.id} changed its own entry {index}"

    def _check_one_change(self, core: Core, index: int) -> None:
        """A leader has at most one membership change that is not committed (dissertation 4.1)."""
        if core.role is not Role.LEADER:
            return
        open_changes = [
            entry.index
            for entry in core.log.entries
            if entry.kind is EntryKind.CONFIG and self.last_committed < entry.index <= index
        ]
        assert len(open_changes) <= 1, f"changes {open_changes} at once at leader {core.id}"

    def _check_commit(self, core: Core, view: _View) -> None:
        log = core.log
        assert log.commit >= view.commit, f"{core.id} took back a commit"
        for index in range(max(view.commit, log.offset) + 1, log.commit + 1):
            entry = log.entries[index - log.offset - 1]
            first = self.committed.get(index)
            if first is None:
                self._commit(core, entry)
            else:
                assert first == entry, f"{index} was committed twice, differently"

    def _commit(self, core: Core, entry: Entry) -> None:
        """Committed means: on the disks of a majority (of both sets), and in all later leaders."""
        index = entry.index
        assert index == self.last_committed + 1, f"{core.id} committed {index} over a gap"
        self.committed[index] = entry
        self._committed_in[index] = core.term
        self.last_committed = index
        holders = [m for m, disk in self._disks.items() if disk.holds(index, entry.term)]
        assert majority(core.membership, holders), f"{index} is committed on {holders} only"
        for other in self._cores.values():
            if other.role is Role.LEADER:
                self._check_complete(other, index)

    def voted(self, answer: Message) -> None:
        """One vote a term (paper, 5.2)."""
        if not answer.reject:
            known = self._votes.setdefault((answer.sender, answer.term), answer.to)
            assert known == answer.to, f"{answer.sender} voted twice in term {answer.term}"

    def restored(self, member: int, index: int) -> None:
        assert index > self.applied[member], f"{member} went back to a snapshot at {index}"
        self.applied[member] = index

    def apply(self, member: int, entry: Entry) -> None:
        """State Machine Safety: the same entry at the same index, in order, no gap."""
        assert entry.index == self.applied[member] + 1, f"{member} skipped an entry"
        self.applied[member] = entry.index
        assert self.committed.get(entry.index) == entry, f"{member} applied what is not committed"
        assert self._disks[member].holds(entry.index, entry.term), "applied before it was on disk"

    def membership(self, index: int, before: Membership, after: Membership) -> bool:
        """All agree from which entry on who counts, and majorities before and after overlap.
        True when it is the first time that this change is applied."""
        known = self._memberships.setdefault(index, after)
        assert known == after, f"other members count from {index} on"
        if before.outgoing:
            overlap = after.voters == before.voters and not after.outgoing
        elif after.outgoing:
            overlap = after.outgoing == before.voters
        else:
            overlap = len(after.voters ^ before.voters) <= 1
        assert after.voters
        assert after == before or overlap, f"{before} to {after} in one step"
        assert not after.learners & after.voters
        return known is after


def majority(membership: Membership, members: Collection[int]) -> bool:
    """More than half of the voters, and of the outgoing ones while a change is under way. Not the
    core's own count: that is on trial here."""
    halves = [half for half in (membership.voters, membership.outgoing) if half]
    return all(2 * len(half.intersection(members)) > len(half) for half in halves)
