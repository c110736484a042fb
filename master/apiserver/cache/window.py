"""The recent events of one kind, from which watches resume. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from master.apiserver.cache.entry import Entry, Selection

ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"
CAPACITY = 8192
# Of the events of one kind; at least so many are kept, however large they are.
MAX_BYTES, LEAST = 64 << 20, 100

# What a watcher is told.
Seen = tuple[str, Entry]


@dataclass(frozen=True, slots=True)
class CacheEvent:
    """`entry` is the object after the change (for DELETED: its last state, at the deletion's
    revision), `previous` the one before."""

    type: str
    entry: Entry
    previous: Entry | None
    seen: Seen = field(init=False)  # made once for all watchers

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", (self.type, self.entry))

    @property
    def size(self) -> int:
        return len(self.entry.data)

    @property
    def revision(self) -> int:
        return self.entry.revision


def as_seen(event: CacheEvent, selection: Selection) -> Seen | None:
    """The event as a watcher of `selection` sees it; None when it does not.

    An object that begins to match is ADDED to the watcher, one that ceases to is DELETED.
    """
    if selection.everything:
        return event.seen
    now = event.type != DELETED and selection.matches(event.entry)
    before = event.previous is not None and selection.matches(event.previous)
    if not (now or before):
        return None
    type_ = DELETED if not now else MODIFIED if before else ADDED
    return event.seen if type_ == event.type else (type_, event.entry)


class Window:
    """All events after revision `horizon`, oldest first, bounded."""

    def __init__(self, horizon: int, capacity: int = CAPACITY, max_bytes: int = MAX_BYTES) -> None:
        self.horizon = horizon
        self._events: deque[CacheEvent] = deque()
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0

    def append(self, event: CacheEvent) -> bool:
        """Whether something was forgotten for it."""
        self._events.append(event)
        self._bytes += event.size
        forgotten = False
        while len(self._events) > self._capacity or (
            self._bytes > self._max_bytes and len(self._events) > LEAST
        ):
            oldest = self._events.popleft()
            self._bytes -= oldest.size
            self.horizon = oldest.revision
            forgotten = True
        return forgotten

    def covers(self, revision: int) -> bool:
        """Whether no event after `revision` has been forgotten."""
        return revision >= self.horizon

    def after(self, revision: int) -> Iterator[CacheEvent]:
        """Events newer than `revision`. Walks from the newest end: resumes are usually recent."""
        newer = []
        for event in reversed(self._events):
            if event.revision <= revision:
                break
            newer.append(event)
        return reversed(newer)
