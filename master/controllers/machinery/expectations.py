"""What a controller has asked for and not yet seen (upstream's ControllerExpectations).

A ReplicaSet whose creations have not all come back through the watch must not be counted
again: the cache would still show too few pods and doubles would be created.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# A watch that lost an event would block for ever: after this long the cache is believed.
TIMEOUT_SECONDS = 300.0


@dataclass(slots=True)
class _Expected:
    since: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)

    @property
    def fulfilled(self) -> bool:
        return self.creations <= 0 and not self.deletions


class Expectations:
    """By controller key. `now` is any clock that only goes forward."""

    def __init__(self) -> None:
        self._expected: dict[str, _Expected] = {}

    def expect(self, key: str, creations: int, deletions: set[str], now: float) -> None:
        self._expected[key] = _Expected(now, creations, set(deletions))

    def created(self, key: str) -> None:
        """A creation was seen, or failed and will not be."""
        expected = self._expected.get(key)
        if expected is not None:
            expected.creations -= 1

    def deleted(self, key: str, dependent: str) -> None:
        """A deletion was seen, or failed and will not be."""
        expected = self._expected.get(key)
        if expected is not None:
            expected.deletions.discard(dependent)

    def forget(self, key: str) -> None:
        self._expected.pop(key, None)

    def satisfied(self, key: str, now: float) -> bool:
        expected = self._expected.get(key)
        if expected is None or expected.fulfilled:
            return True
        return now - expected.since > TIMEOUT_SECONDS
