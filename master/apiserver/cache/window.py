"""The recent events of one kind, from which watches resume. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from master.apiserver.cache.entry import Entry, Selection

ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"
CAPACITY = 8192


@dataclass(frozen=True, slots=True)
class CacheEvent:
    """`entry` is the object after the change (for DELETED: its last state, at the deletion's
    revision), `previous` the one before."""

    type: str
    entry: Entry
    previous: Entry | None

    @property
    def revision(self) -> int:
        return self.entry.revision


def as_seen(event: CacheEvent, selection: Selection) -> tuple[str, Entry] | None:
    """The event as a watcher of `selection` sees it; None when it does not.

    An object that begins to match is ADDED to the watcher, one that ceases to is DELETED.
    """
    if selection.everything:
        return event.type, event.entry
    now = event.type != DELETED and selection.matches(event.entry)
    before = event.previous is not None and selection.matches(event.previous)
    if now:
        return (MODIFIED if before else ADDED), event.entry
    return (DELETED, event.entry) if before else None


class Window:
    """All events after revision `horizon`, oldest first, bounded."""

    def __init__(self, horizon: int, capacity: int = CAPACITY) -> None:
        self.horizon = horizon
        self._events: deque[CacheEvent] = deque()
        self._capacity = capacity

    def append(self, event: CacheEvent) -> None:
        if len(self._events) >= self._capacity:
            self.horizon = self._events.popleft().revision
        self._events.append(event)

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
