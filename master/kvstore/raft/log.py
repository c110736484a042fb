"""The part of the replicated log that a member holds in memory: what no snapshot replaced."""

from __future__ import annotations

from collections.abc import Sequence

from master.kvstore.raft.messages import Entry, EntryKind, SnapshotMeta


class RaftLog:
    """Entries `offset + 1 ..= last_index`.

    Always: applied <= commit, applied <= stable <= last_index. `stable` is what is on disk here.
    """

    def __init__(self, snapshot: SnapshotMeta, entries: Sequence[Entry], commit: int) -> None:
        self.snapshot = snapshot  # the newest snapshot: what a follower that lags is sent
        self.offset = snapshot.index
        self.offset_term = snapshot.term
        self.entries: list[Entry] = list(entries)
        assert not entries or entries[0].index == self.offset + 1, "log has a gap after snapshot"
        self.stable = self.last_index
        self.commit = max(snapshot.index, min(commit, self.last_index))
        self.applied = snapshot.index

    @property
    def last_index(self) -> int:
        return self.offset + len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.offset_term

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None when it is compacted away or not there yet."""
        if index == self.offset:
            return self.offset_term
        position = index - self.offset - 1
        if 0 <= position < len(self.entries):
            return self.entries[position].term
        return None

    def up_to_date(self, index: int, term: int) -> bool:
        """Whether a candidate's log is at least as complete as this one (paper, 5.4.1)."""
        return (term, index) >= (self.last_term, self.last_index)

    def slice(self, first: int, last: int, max_bytes: int) -> tuple[Entry, ...]:
        """Entries `first..=last`, cut at `max_bytes` but never empty for that reason."""
        chosen = self.entries[first - self.offset - 1 : last - self.offset]
        size = 0
        for count, entry in enumerate(chosen):
            size += len(entry.data)
            if size > max_bytes and count:
                return tuple(chosen[:count])
        return tuple(chosen)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add `entries`; whatever was at their indexes and after is dropped (paper, 5.3)."""
        first = entries[0].index
        assert first > self.commit, f"entry {first} would replace a committed one"
        del self.entries[first - self.offset - 1 :]
        self.entries.extend(entries)
        self.stable = min(self.stable, first - 1)

    def try_append(self, prev_index: int, prev_term: int, entries: Sequence[Entry]) -> int | None:
        """AppendEntries' consistency check (paper, 5.3). The last index that now matches, None if
        refused."""
        if self.term_at(prev_index) != prev_term:
            return None
        for position, entry in enumerate(entries):
            if entry.index > self.offset and self.term_at(entry.index) != entry.term:
                self.append(entries[position:])
                break
        return prev_index + len(entries)

    def agreement_hint(self, index: int, term: int) -> int:
        """The last index, not after `index`, whose term is not after `term` (paper, 5.3 end)."""
        index = min(index, self.last_index)
        while index > self.offset and (self.term_at(index) or 0) > term:
            index -= 1
        return index

    def commit_to(self, index: int) -> bool:
        if index <= self.commit:
            return False
        assert index <= self.last_index, f"commit {index} is beyond the log's {self.last_index}"
        self.commit = index
        return True

    def take_committed(self, max_bytes: int) -> tuple[Entry, ...]:
        """The next entries to apply: committed and on this member's own disk."""
        last = min(self.commit, self.stable)
        if last <= self.applied:
            return ()
        entries = self.slice(self.applied + 1, last, max_bytes)
        self.applied = entries[-1].index
        return entries

    def unapplied_config(self) -> bool:
        """Whether a membership change is committed but not applied yet."""
        waiting = self.entries[self.applied - self.offset : self.commit - self.offset]
        return any(entry.kind is EntryKind.CONFIG for entry in waiting)

    def unstable(self, max_bytes: int) -> tuple[Entry, ...]:
        if self.stable == self.last_index:
            return ()
        return self.slice(self.stable + 1, self.last_index, max_bytes)

    def stable_to(self, index: int, term: int) -> None:
        """A write ended. Entries replaced meanwhile are not what is on disk: ignore those."""
        if index > self.stable and self.term_at(index) == term:
            self.stable = index

    def compact(self, snapshot: SnapshotMeta, keep: int) -> None:
        """`snapshot` is on disk: forget what it covers, but for `keep` entries for laggards
        (log compaction: paper, section 7; dissertation 5.1)."""
        assert snapshot.index <= self.applied, "a snapshot covers only what is applied"
        self.snapshot = snapshot
        new_offset = snapshot.index - keep
        if new_offset <= self.offset:
            return
        term = self.term_at(new_offset)
        assert term is not None, "compacting beyond the log"
        del self.entries[: new_offset - self.offset]
        self.offset, self.offset_term = new_offset, term

    def restore(self, snapshot: SnapshotMeta) -> None:
        """Start again from a snapshot that the leader sent (paper, section 7)."""
        self.snapshot = snapshot
        self.offset, self.offset_term = snapshot.index, snapshot.term
        self.entries = []
        self.commit = self.stable = self.applied = snapshot.index
