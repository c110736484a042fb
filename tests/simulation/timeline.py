"""Virtual time in milliseconds, and two queues that drive it: what the cluster brings about itself
(ticks, messages, writes), and what comes from outside (`at`: clients, faults, repairs).

When the first only repeats itself until the second goes on, whole periods are skipped (quiet.py).
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tests.simulation.quiet import picture

TICK = 100
ELECTION_TICKS = 10
PERIOD = TICK * ELECTION_TICKS  # a leader looks back on so much (CheckQuorum): no less repeats
_SETTLE = 400  # so long after the last interference it may be worth looking whether all is quiet
_NEVER = 1 << 62

Trace = Callable[[int, str], None]


class Timeline(ABC):
    def __init__(self, *, skip_quiet: bool, trace: Trace | None) -> None:
        self.now = 0
        self.calm = False  # no fault is on: it is worth looking for quiet time
        self.stepped = 0  # events
        self.skipped = 0  # events that were not stepped because they only repeat
        self.skipped_ms = 0
        self._sequence = 0
        self._events: list[tuple[int, int, int, int, Any]] = []
        self._plan: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._planned = 0
        self._skip = skip_quiet
        self._trace = trace
        self._lines: list[tuple[int, str]] = []  # of the period that may be repeated
        self._look_at = _NEVER
        self._look_stepped = 0
        self._picture: object = None

    @abstractmethod
    def _handle(self, kind: int, member: int, what: Any, sequence: int) -> None:
        """An event of the cluster itself is due."""

    @abstractmethod
    def _whole_state(self) -> object:
        """Everything that decides what happens next, besides the two queues."""

    @abstractmethod
    def assert_settled(self) -> None:
        """What must hold whenever all is quiet."""

    def at(self, delay: int, what: Callable[..., object], *args: object) -> None:
        """Interfere from outside, `delay` ms from now."""
        self._planned += 1
        heapq.heappush(self._plan, (self.now + delay, self._planned, what, args))

    def _schedule(self, delay: int, kind: int, member: int, what: object) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (self.now + delay, self._sequence, kind, member, what))

    def run(self, ms: int) -> None:
        end = self.now + ms
        while True:
            happens = self._events[0][0] if self._events else _NEVER
            planned = self._plan[0][0] if self._plan else _NEVER
            following = min(happens, planned)
            if self._look_at <= following and self._look_at <= end:
                self._look(min(planned, end))
            elif following > end:
                break
            elif planned <= happens:
                self._interfere()
            else:
                self.now, sequence, kind, member, what = heapq.heappop(self._events)
                self.stepped += 1
                self._handle(kind, member, what, sequence)
        self.now = end

    def _interfere(self) -> None:
        self.now, _, what, args = heapq.heappop(self._plan)
        what(*args)
        self._picture = None
        self._look_at = self.now + _SETTLE if self.calm and self._skip else _NEVER

    # --- quiet time

    def _look(self, horizon: int) -> None:
        """All before `_look_at` is done. Is it as it was one period ago?"""
        self.now = self._look_at
        before, self._picture = self._picture, self._take_picture()
        if before == self._picture:
            self._skip_periods((horizon - self.now) // PERIOD)
            self._look_at = _NEVER
        else:
            self._look_at += PERIOD
            self._look_stepped = self.stepped
            self._lines = []

    def _take_picture(self) -> object:
        on_its_way = [
            (when - self.now, kind, member, picture(what))
            for when, _, kind, member, what in sorted(self._events, key=lambda event: event[:2])
        ]
        return tuple(on_its_way), self._planned, self._whole_state()

    def _skip_periods(self, periods: int) -> None:
        self.assert_settled()
        shift = periods * PERIOD
        self._events = [(event[0] + shift, *event[1:]) for event in self._events]
        self.now += shift
        self.skipped_ms += shift
        self.skipped += periods * (self.stepped - self._look_stepped)
        if self._trace is not None:
            for number in range(1, periods + 1):
                for when, line in self._lines:
                    self._trace(when + number * PERIOD, line)

    # --- the trace

    @property
    def traced(self) -> bool:
        return self._trace is not None

    def trace(self, line: str) -> None:
        if self._trace is not None:
            self._trace(self.now, line)
            if self._look_at != _NEVER:
                self._lines.append((self.now, line))
