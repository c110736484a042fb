"""Pods that have a node and wait for the plugins that hold them to let them go on, or time out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from master.scheduler.framework import Refusal
from master.scheduler.plugin import Rejection
from master.scheduler.podinfo import PodInfo


class HeldPod:
    """`plugin.Held`: the first rejection ends it, or the last permission."""

    def __init__(self, pod: PodInfo, node: str, holds: Mapping[str, float]) -> None:
        self.pod, self.node = pod, node
        loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Refusal | None] = loop.create_future()
        self._timers = {
            plugin: loop.call_later(seconds, self._expire, plugin, seconds)
            for plugin, seconds in holds.items()
        }

    @property
    def pending(self) -> frozenset[str]:
        return frozenset(self._timers)

    def allow(self, plugin: str) -> None:
        timer = self._timers.pop(plugin, None)
        if timer is not None:
            timer.cancel()
            if not self._timers and not self.outcome.done():
                self.outcome.set_result(None)

    def reject(self, plugin: str, reason: str) -> None:
        self.drop_timers()
        if not self.outcome.done():
            self.outcome.set_result(Refusal(plugin, Rejection((reason,))))

    def drop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _expire(self, plugin: str, seconds: float) -> None:
        text = f"rejected due to timeout after waiting {seconds:g}s at plugin {plugin}"
        self.reject(plugin, text)


class Permits:
    """The pods that are held now, by uid."""

    def __init__(self) -> None:
        self.held: dict[str, HeldPod] = {}

    def hold(self, pod: PodInfo, node: str, holds: Mapping[str, float]) -> HeldPod:
        """At once, so that other plugins see the pod; then `wait`."""
        held = self.held[pod.uid] = HeldPod(pod, node, holds)
        return held

    async def wait(self, held: HeldPod) -> Refusal | None:
        """None when every plugin has allowed it."""
        try:
            return await held.outcome
        finally:
            held.drop_timers()
            self.held.pop(held.pod.uid, None)
