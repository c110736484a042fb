"""Crash and image-pull back-off: 10 s doubling to 300 s (client-go's `flowcontrol.Backoff`).

Pure: the times come from the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_SECONDS = 10.0
MAX_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait after the next failure, and when that was decided."""

    delay: float
    updated: float

    def expired(self, event: float) -> bool:
        """A container that lived twice the longest back-off starts with a clean slate."""
        return event - self.updated > 2 * MAX_SECONDS

    def until(self, event: float) -> float:
        """When a thing that failed at `event` may be tried again."""
        return event if self.expired(event) else event + self.delay


def advance(previous: BackOff | None, event: float, now: float) -> BackOff:
    """The back-off after one more try that follows the failure at `event`."""
    if previous is None or previous.expired(event):
        return BackOff(INITIAL_SECONDS, now)
    return BackOff(min(previous.delay * 2, MAX_SECONDS), now)


def describe(seconds: float) -> str:
    """A duration as Go prints it: `10s`, `2m40s`, `5m0s`; upstream's messages carry these."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
