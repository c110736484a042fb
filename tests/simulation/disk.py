"""A member's disk in the simulation: what survives a crash."""

from __future__ import annotations

from dataclasses import dataclass, field

from master.kvstore.raft.core import Write
from master.kvstore.raft.messages import Entry, HardState, SnapshotMeta


@dataclass
class Disk:
    """Hard state, newest snapshot, and the entries after it. A `Write` is there whole or not."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta | None = None
    entries: list[Entry] = field(default_factory=list)

    def store(self, write: Write) -> None:
        if write.snapshot is not None:
            self.snapshot, self.entries = write.snapshot, []
        if write.entries:
            if self.entries:
                first = write.entries[0].index - self.entries[0].index
                del self.entries[max(0, first) :]
            self.entries.extend(write.entries)
        self.hard_state = write.hard_state

    def keep_from(self, snapshot: SnapshotMeta) -> None:
        """A snapshot of the own state is safe: what it covers may go."""
        if self.snapshot is None or snapshot.index > self.snapshot.index:
            self.snapshot = snapshot
            self.entries = [entry for entry in self.entries if entry.index > snapshot.index]

    def holds(self, index: int, term: int) -> bool:
        if self.snapshot is not None and index <= self.snapshot.index:
            return True
        if not self.entries:
            return False
        position = index - self.entries[0].index
        return 0 <= position < len(self.entries) and self.entries[position].term == term
