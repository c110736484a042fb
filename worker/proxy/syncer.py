"""Keeps the kernel's rules equal to what the API says. The one place that changes them.

Changed services are rendered again and only the chains that differ are written (a partial
sync). At the start, at every sync period and after a failure the kernel is read and compared
as a whole (a full sync), which also repairs what somebody else flushed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from kube.client.informer import Backoff, Informer
from kube.component.log import get_logger
from worker.proxy import metrics
from worker.proxy.commands import RulesError
from worker.proxy.conntrack import forget_stale
from worker.proxy.endpoints import OwnNode
from worker.proxy.flows import has_udp
from worker.proxy.health import Health
from worker.proxy.pending import Pending, service_key
from worker.proxy.rendered import RenderedService
from worker.proxy.writer import Writer, Written

log = get_logger(__name__)
Clock = Callable[[], float]
BY_SERVICE = "service"  # the index of slices
_NOTHING: RenderedService[Any] = RenderedService()


@dataclass(frozen=True, slots=True)
class Periods:
    """All in seconds."""

    least: float  # between two syncs, so that a burst of changes is one write
    full: float
    retry_first: float = 0.1
    retry_most: float = 5.0


class Syncer:
    """Belongs to one event loop. `run` is the only caller of the writer."""

    def __init__(
        self,
        writer: Writer,
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        periods: Periods,
        health: Health,
        clock: Clock = time.time,
    ) -> None:
        self._writer = writer
        self._services = services
        self._slices = slices
        self._periods = periods
        self._health = health
        self._clock = clock
        self._started = clock()
        self._node = OwnNode("")
        self._pending = Pending()
        self._changed = asyncio.Event()
        self._rendered: dict[str, RenderedService[Any]] = {}
        self._without_local = [0, 0]  # service ports: internal, external policy
        self._full = True
        self._synced = asyncio.Event()
        slices.add_index(BY_SERVICE, lambda slice_: filter(None, [service_key(slice_)]))
        services.add_handler(self._on_service)
        slices.add_handler(self._on_slice)

    # -- what changes

    @property
    def rendered(self) -> Mapping[str, RenderedService[Any]]:
        """What the rules say now, by service."""
        return self._rendered

    async def wait_synced_again(self) -> None:
        """Until the next successful sync."""
        await self._synced.wait()

    def set_node(self, node: OwnNode) -> None:
        """The own node became known or moved to another zone: everything is decided afresh."""
        if node != self._node:
            self._node = node
            self._pending.keys |= self._services.store.keys() | self._rendered.keys()
            self._queue()

    def _on_service(self, _: str, old: Service | None, new: Service | None) -> None:
        if self._pending.service(old, new):
            metrics.SERVICE_CHANGES.inc()
            self._queue()

    def _on_slice(self, _: str, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        if self._pending.slice_(old, new, self._started):
            metrics.ENDPOINT_CHANGES.inc()
            self._queue()

    def _queue(self) -> None:
        self._show_pending()
        now = self._clock()
        metrics.LAST_QUEUED.set(now)
        self._health.queued(now)
        self._changed.set()

    def _show_pending(self) -> None:
        metrics.SERVICE_CHANGES_PENDING.set(self._pending.services)
        metrics.ENDPOINT_CHANGES_PENDING.set(self._pending.slices)

    # -- the loop

    async def run(self) -> None:
        """Sync until cancelled. Nothing is written before both lists are known: with half of
        them every service would look as if it had no endpoints."""
        await self._services.wait_synced()
        await self._slices.wait_synced()
        backoff = Backoff(
            random.Random(),  # noqa: S311 - jitter needs no secrecy
            self._periods.retry_first,
            self._periods.retry_most,
        )
        next_full = 0.0
        while True:
            next_full = await self._due(next_full)
            try:
                await self.sync()
            except RulesError as error:
                delay = backoff.delay()
                log.error("sync failed", error=str(error), retry_in=round(delay, 3))
                self._changed.set()
                await asyncio.sleep(delay)
            else:
                backoff.reset()
                await asyncio.sleep(self._periods.least)

    async def _due(self, next_full: float) -> float:
        """Wait for a change or for the time of the next full sync, and return that time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(next_full):
                await self._changed.wait()
        except TimeoutError:
            pass
        # Also when changes never pause, so that no wait ever times out.
        self._full = self._full or loop.time() >= next_full
        return loop.time() + self._periods.full if self._full else next_full

    async def sync(self) -> Written:
        """Make the rules right once. On RulesError all that was pending is pending again."""
        began = time.monotonic()
        taken = self._pending.take()
        self._changed.clear()
        is_full = self._full
        try:
            fresh = dict(self._render(taken.keys))
            services = {**self._rendered, **fresh}
            written = await self._writer.write(services, self._node, full=is_full)
        except BaseException as error:
            if isinstance(error, RulesError):
                self._count_failure(is_full)
            self._pending.put_back(taken)
            self._show_pending()
            self._full = True
            raise
        self._full = False
        old = [self._rendered.get(key, _NOTHING) for key in fresh]
        self._commit(fresh)
        if is_full or has_udp(old) or has_udp(fresh.values()):
            await forget_stale(self._rendered.values())
        self._account(taken, written, is_full, time.monotonic() - began)
        return written

    def _render(self, keys: Iterable[str]) -> Iterable[tuple[str, RenderedService[Any]]]:
        for key in sorted(keys):
            try:
                yield (
                    key,
                    self._writer.render(
                        self._services.get(key), self._slices.by_index(BY_SERVICE, key), self._node
                    ),
                )
            except Exception:
                # One service that we cannot read must not stop all others.
                log.exception("service not rendered, its rules stay", service=key)

    # -- afterwards

    def _commit(self, fresh: Mapping[str, RenderedService[Any]]) -> None:
        for key, service in fresh.items():
            for at, less in enumerate(self._rendered.get(key, _NOTHING).without_local()):
                self._without_local[at] += service.without_local()[at] - less
            if service.ports:
                self._rendered[key] = service
            else:
                self._rendered.pop(key, None)

    def _account(self, taken: Pending, written: Written, is_full: bool, seconds: float) -> None:
        now = self._clock()
        metrics.SYNC.observe(seconds)
        (metrics.SYNC_FULL if is_full else metrics.SYNC_PARTIAL).observe(seconds)
        metrics.LAST_SYNC.set(now)
        # Wakes those that wait now, and nobody later.
        self._synced.set()
        self._synced.clear()
        for trigger in taken.triggers:
            metrics.PROGRAMMING.observe(max(0.0, now - trigger))
        self._count_rules(written)
        self._show_pending()
        self._health.updated(now, still_queued=bool(self._pending.keys))
        if written:
            log.info(
                "rules synced",
                full=is_full,
                chains=written.chains,
                rules=sum(written.rules.values()),
                seconds=round(seconds, 4),
            )

    def _count_failure(self, is_full: bool) -> None:
        if self._writer.mode == "nftables":
            metrics.NFTABLES_FAILURES.inc()
            return
        metrics.RESTORE_FAILURES.inc()
        if not is_full:
            metrics.PARTIAL_RESTORE_FAILURES.inc()

    def _count_rules(self, written: Written) -> None:
        for table, rules in self._writer.rules().items():
            metrics.RULES.labels(table=table).set(rules)
            metrics.RULES_LAST.labels(table=table).set(written.rules.get(table, 0))
        for policy, count in zip(("internal", "external"), self._without_local, strict=True):
            metrics.NO_LOCAL_ENDPOINTS.labels(traffic_policy=policy).set(count)
