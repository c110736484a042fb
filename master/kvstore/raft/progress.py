"""What a leader knows about one follower: nextIndex, matchIndex (paper, figure 2) and what is
under way to it. Bounds on that keep a slow follower from being flooded (dissertation 10.2.1)."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from master.kvstore.raft.messages import Entry

MAX_INFLIGHT_MESSAGES = 256
MAX_INFLIGHT_BYTES = 16 << 20


class Flow(enum.Enum):
    PROBE = "probe"  # where the logs agree is unknown: one append at a time
    REPLICATE = "replicate"  # appends are pipelined (dissertation 10.2.1)
    SNAPSHOT = "snapshot"  # a snapshot is being sent: no appends meanwhile


@dataclass(slots=True)
class Progress:
    """Flow control is a window of messages and bytes; `next` runs ahead of `match` within it."""

    match: int = 0
    next: int = 1
    flow: Flow = Flow.PROBE
    recent_active: bool = False
    probe_sent: bool = False
    snapshot_index: int = 0
    commit_sent: int = 0
    awaited: int = 0  # up to here it is told at once what is committed: a client of it waits
    _inflight: deque[tuple[int, int]] = field(default_factory=deque)  # (last index, bytes)
    _inflight_bytes: int = 0

    @property
    def paused(self) -> bool:
        if self.flow is Flow.PROBE:
            return self.probe_sent
        if self.flow is Flow.SNAPSHOT:
            return True
        return self._window_full()

    def _window_full(self) -> bool:
        return (
            len(self._inflight) >= MAX_INFLIGHT_MESSAGES
            or self._inflight_bytes >= MAX_INFLIGHT_BYTES
        )

    def _become(self, flow: Flow) -> None:
        self.flow = flow
        self.probe_sent = False
        self.snapshot_index = 0
        self._inflight.clear()
        self._inflight_bytes = 0

    def become_probe(self) -> None:
        # After a snapshot the follower is at least where the snapshot ends.
        reached = self.snapshot_index if self.flow is Flow.SNAPSHOT else 0
        self._become(Flow.PROBE)
        self.next = max(self.match, reached) + 1

    def become_replicate(self) -> None:
        self._become(Flow.REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        self._become(Flow.SNAPSHOT)
        self.snapshot_index = index

    def snapshot_failed(self) -> None:
        self.snapshot_index = 0
        self.become_probe()

    def sent(self, entries: Sequence[Entry]) -> None:
        if self.flow is Flow.PROBE:
            self.probe_sent = True
        elif entries:
            size = sum(len(entry.data) for entry in entries)
            self.next = entries[-1].index + 1
            self._inflight.append((entries[-1].index, size))
            self._inflight_bytes += size

    def acknowledged(self, index: int) -> bool:
        """The follower has everything up to `index`. True when that is news."""
        while self._inflight and self._inflight[0][0] <= index:
            self._inflight_bytes -= self._inflight.popleft()[1]
        if self.flow is Flow.PROBE:
            self.probe_sent = False
        news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, index + 1)
        return news

    def refused(self, index: int, hint: int) -> bool:
        """The follower has no entry that agrees at `index`. False when that is old news."""
        if self.flow is Flow.REPLICATE:
            if index <= self.match:
                return False
            self.become_probe()
            return True
        if self.next - 1 != index:
            return False
        self.next = max(min(index, hint + 1), self.match + 1)
        self.probe_sent = False
        return True

    def heartbeat_answered(self) -> None:
        """Something gets through again: allow one append, even with a full window."""
        self.probe_sent = False
        if self.flow is Flow.REPLICATE and self._window_full():
            self._inflight_bytes -= self._inflight.popleft()[1]
