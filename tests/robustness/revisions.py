"""The history of all revisions, rebuilt from a watch, and the state at each of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.robustness.history import Event, Found, Watch


class Revisions:
    """Events by revision. `problems` says what no store may have sent."""

    def __init__(self, recorder: Watch) -> None:
        self.problems: list[str] = []
        self.events: dict[int, list[Event]] = {}
        self.seen_at: dict[int, float] = {}  # when the recorder was told
        for session in recorder.sessions:
            for response in session.responses:
                for event in response.events:
                    self._add(event, response.at)
        self.last = max(self.events, default=1)
        self._by_key: dict[str, list[Event]] = defaultdict(list)
        for revision in sorted(self.events):
            for event in self.events[revision]:
                self._follow(event)
        self._check_contiguous()

    def _add(self, event: Event, at: float) -> None:
        events = self.events.setdefault(event.mod, [])
        if any(known.key == event.key for known in events):
            self.problems.append(f"revision {event.mod} changes {event.key} twice")
        events.append(event)
        self.seen_at.setdefault(event.mod, at)

    def _check_contiguous(self) -> None:
        """Every revision changes something, so one without an event was lost."""
        missing = [revision for revision in range(2, self.last) if revision not in self.events]
        if missing:
            self.problems.append(f"events lost: nothing was sent for revisions {missing[:20]}")

    def _follow(self, event: Event) -> None:
        """The numbers that a key carries must follow from the key's own past."""
        past = self._by_key[event.key]
        before = past[-1] if past and past[-1].value is not None else None
        if event.value is None:
            if before is None:
                self.problems.append(f"revision {event.mod} deletes {event.key}, which was not")
        else:
            expected = (before.create, before.version + 1) if before is not None else (event.mod, 1)
            if (event.create, event.version) != expected:
                self.problems.append(
                    f"revision {event.mod}: {event.key} has create revision {event.create} and "
                    f"version {event.version}, not {expected}"
                )
        if event.previous is not None:
            known = (before.value, before.mod) if before is not None else None
            if event.previous != known:
                self.problems.append(
                    f"revision {event.mod}: {event.key} was {known}, "
                    f"its prev_kv says {event.previous}"
                )
        past.append(event)

    @property
    def keys(self) -> Iterable[str]:
        return self._by_key

    def at(self, key: str, revision: int) -> Event | None:
        """The key as it is at `revision`."""
        past = self._by_key.get(key, [])
        place = bisect_right(past, revision, key=lambda event: event.mod)
        event = past[place - 1] if place else None
        return event if event is not None and event.value is not None else None

    def read(self, what: str, revision: int) -> list[Found]:
        """What a read of a key, or of all keys with a prefix (`prefix*`), finds at `revision`."""
        keys = (
            sorted(k for k in self._by_key if k.startswith(what[:-1]))
            if what[-1:] == "*"
            else [what]
        )
        events = [event for key in keys if (event := self.at(key, revision)) is not None]
        return [Found(e.key, e.value or "", e.mod, e.lease) for e in events]

    def after(self, revision: int) -> Iterator[Event]:
        for number in range(revision + 1, self.last + 1):
            yield from self.events.get(number, [])
