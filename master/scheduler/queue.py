"""The pods that wait for a node: ready to try, backing off, or known not to fit. No I/O.

A pod that did not fit waits for an event that may change that, and each plugin says which
events those are; after a failed attempt it also waits out a back-off that doubles. The
clock is handed in. A pod that a plugin's gate keeps out is
not tried until it changes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from kube.api.core import Pod
from kube.machinery.scheme import key_of

FIRST_BACKOFF = 1.0
LAST_BACKOFF = 10.0
# Whatever event was missed: look again after this long (podMaxInUnschedulablePodsDuration).
MAX_UNSCHEDULABLE = 300.0


@dataclass(slots=True)
class Waiting:
    """A pod in the queue, and its history there."""

    pod: Pod
    since: float  # first seen
    attempts: int = 0
    tried: float = 0.0
    plugins: frozenset[str] = field(default=frozenset())

    @property
    def key(self) -> str:
        return key_of(self.pod)

    def backoff_ends(self) -> float:
        if not self.attempts:
            return 0.0
        return self.tried + min(FIRST_BACKOFF * 2.0 ** (self.attempts - 1), LAST_BACKOFF)


class Rules(Protocol):
    """What the queue asks the plugins (`Framework`)."""

    def queue_key(self, pod: Pod, since: float) -> Any:
        """The smallest is next."""

    def pre_enqueue(self, pod: Pod) -> object | None:
        """Something when the pod must not be tried."""

    def cures(self, plugin: str) -> frozenset[str]:
        """Which events may cure the plugin's rejections."""
        ...


class SchedulingQueue:
    def __init__(self, rules: Rules, now: Callable[[], float]) -> None:
        self._rules, self._now = rules, now
        self._order = count()
        self._heap: list[tuple[Any, int, str]] = []
        self._active: dict[str, Waiting] = {}
        self._backoff: dict[str, Waiting] = {}
        self._unschedulable: dict[str, Waiting] = {}
        self._gated: dict[str, Waiting] = {}
        # Events since the attempt that is running: it did not see what they changed.
        self._in_flight: Waiting | None = None
        self._missed: set[str] = set()

    def lengths(self) -> dict[str, int]:
        return {
            "active": len(self._active),
            "backoff": len(self._backoff),
            "unschedulable": len(self._unschedulable),
            "gated": len(self._gated),
        }

    def add(self, pod: Pod) -> None:
        """A pod without a node appeared, or changed."""
        key = key_of(pod)
        known = self._find(key)
        if known is None:
            if self._in_flight is None or self._in_flight.key != key:
                self._activate(Waiting(pod, self._now()))
            return
        old, known.pod = known.pod, pod
        if key in self._gated:
            self._activate(self._gated.pop(key))  # or back behind the gate
            return
        # Only a change of what was asked for can make a difference.
        if key in self._unschedulable and (old.spec, old.metadata.labels) != (
            pod.spec, pod.metadata.labels
        ):  # fmt: skip
            self._requeue(self._unschedulable.pop(key))

    def remove(self, key: str) -> None:
        """The pod is gone, or has a node."""
        for group in (self._active, self._backoff, self._unschedulable, self._gated):
            group.pop(key, None)

    def pop(self) -> Waiting | None:
        """The next pod to try: the one that the plugins sort first. None if none is ripe."""
        self._ripen()
        while self._heap:
            *_, key = heapq.heappop(self._heap)
            waiting = self._active.pop(key, None)
            if waiting is not None:
                waiting.attempts += 1
                waiting.tried = self._now()
                self._in_flight, self._missed = waiting, set()
                return waiting
        return None

    def done(self, waiting: Waiting) -> None:
        """The attempt is over."""
        if self._in_flight is waiting:
            self._in_flight = None

    def unfit(self, waiting: Waiting, plugins: frozenset[str]) -> None:
        """No node would do, or a plugin refused the chosen one, perhaps long after the attempt.

        What happened during the attempt may already have changed that.
        """
        waiting.plugins = plugins
        missed: set[str] = set()
        if self._in_flight is waiting:
            missed, self._in_flight = self._missed, None
        if self._may_cure(waiting, missed):
            self._requeue(waiting)
        else:
            self._unschedulable[waiting.key] = waiting

    def failed(self, waiting: Waiting) -> None:
        """Not the nodes' fault (the binding failed): try again after the back-off."""
        if self._in_flight is waiting:
            self._in_flight = None
        if self._find(waiting.key) is None:
            self._requeue(waiting)

    def happened(self, event: str, by: Waiting | None = None) -> None:
        """A cluster event: wake the pods that it may help, but not who brought it about."""
        if by is None or self._in_flight is not by:
            self._missed.add(event)
        for key, waiting in list(self._unschedulable.items()):
            if self._may_cure(waiting, {event}):
                self._requeue(self._unschedulable.pop(key))

    def next_ripe(self) -> float | None:
        """Seconds until a pod becomes ripe by time alone; None if none will."""
        if self._active:
            return 0.0
        ends = [waiting.backoff_ends() for waiting in self._backoff.values()]
        ends += [w.tried + MAX_UNSCHEDULABLE for w in self._unschedulable.values()]
        return max(0.0, min(ends) - self._now()) if ends else None

    def _find(self, key: str) -> Waiting | None:
        groups = (self._active, self._backoff, self._unschedulable, self._gated)
        return next((group[key] for group in groups if key in group), None)

    def _may_cure(self, waiting: Waiting, events: set[str]) -> bool:
        return any(self._rules.cures(plugin) & events for plugin in waiting.plugins)

    def _requeue(self, waiting: Waiting) -> None:
        if waiting.backoff_ends() > self._now():
            self._backoff[waiting.key] = waiting
        else:
            self._activate(waiting)

    def _activate(self, waiting: Waiting) -> None:
        if self._rules.pre_enqueue(waiting.pod) is not None:
            self._gated[waiting.key] = waiting
            return
        self._active[waiting.key] = waiting
        sort_key = self._rules.queue_key(waiting.pod, waiting.since)
        heapq.heappush(self._heap, (sort_key, next(self._order), waiting.key))

    def _ripen(self) -> None:
        now = self._now()
        for key, waiting in list(self._backoff.items()):
            if waiting.backoff_ends() <= now:
                self._activate(self._backoff.pop(key))
        for key, waiting in list(self._unschedulable.items()):
            if waiting.tried + MAX_UNSCHEDULABLE <= now:
                self._requeue(self._unschedulable.pop(key))
