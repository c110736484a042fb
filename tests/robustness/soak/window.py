"""The last part of the history, so that memory stays bounded however long it gets."""

from __future__ import annotations

import asyncio
from bisect import bisect_right

from tests.robustness.history import Response, Watch
from tests.robustness.revisions import Revisions


class Window(Revisions):
    """Grows by what a watch of everything is told, response by response, and forgets its begin.
    `asked` is the highest revision that anybody asked to compact at."""

    def __init__(self) -> None:
        super().__init__(Watch("recorder", ""))
        self.first = 2
        self.asked = 0
        self._grown = asyncio.Event()

    def take(self, response: Response) -> None:
        """Whole revisions, one after the other: that is what a watch of everything must get."""
        for event in response.events:
            self._add(event, response.at)
        for revision in sorted({event.mod for event in response.events}):
            if revision != self.last + 1:
                self.problems.append(f"revision {revision} was told after {self.last}")
            for event in self.events[revision]:
                self._follow(event)
            self.last = max(self.last, revision)
        self._grown.set()
        self._grown = asyncio.Event()

    async def reached(self, revision: int, seconds: float) -> None:
        """Wait until the history goes that far. TimeoutError if it does not."""
        async with asyncio.timeout(seconds):
            while self.last < revision:
                await self._grown.wait()

    def forget(self, before: int) -> None:
        """The events before that revision; each key's state right before it stays known."""
        if before <= self.first:
            return
        for revision in range(self.first, before):
            self.events.pop(revision, None)
            self.seen_at.pop(revision, None)
        for key, past in list(self._by_key.items()):
            place = bisect_right(past, before - 1, key=lambda event: event.mod)
            gone = place - 1 if place and past[place - 1].value is not None else place
            del past[: max(0, gone)]
            if not past:
                del self._by_key[key]
        self.first = before
