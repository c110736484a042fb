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

from muster.api.core import Service
from muster.api.discovery import EndpointSlice
from muster.client.informer import Backoff, Informer
from muster.component.log import get_logger
from worker.proxy import metrics
from worker.proxy.conntrack import forget
from worker.proxy.endpoints import Node
from worker.proxy.flows import Flows, stale_flows
from worker.proxy.generation import Witness
from worker.proxy.health import Health
from worker.proxy.iptables import Iptables, IptablesError
from worker.proxy.pending import Pending, service_key
from worker.proxy.restore import Restore, changes, dialect, full, misread, parse_save, translated
from worker.proxy.ruleset import (
    JUMPS,
    Options,
    RenderedService,
    Tables,
    assemble,
    render_service,
)

log = get_logger(__name__)
Clock = Callable[[], float]
BY_SERVICE = "service"  # the index of slices
_NOTHING = RenderedService()


@dataclass(frozen=True, slots=True)
class Periods:
    """All in seconds."""

    least: float  # between two syncs, so that a burst of changes is one write
    full: float
    retry_first: float = 0.1
    retry_most: float = 5.0


class Syncer:
    """Belongs to one event loop. `run` is the only caller of iptables."""

    def __init__(
        self,
        iptables: Iptables,
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        options: Options,
        periods: Periods,
        health: Health,
        clock: Clock = time.time,
    ) -> None:
        self._iptables = iptables
        self._services = services
        self._slices = slices
        self._options = options
        self._periods = periods
        self._health = health
        self._clock = clock
        self._started = clock()
        self._node = Node("")
        self._pending = Pending()
        self._changed = asyncio.Event()
        self._rendered: dict[str, RenderedService] = {}
        self._applied: Tables = {}
        self._dialect: Tables = {}
        self._full = True
        self._witness = Witness()
        self._synced = asyncio.Event()
        slices.add_index(BY_SERVICE, lambda slice_: filter(None, [service_key(slice_)]))
        services.add_handler(self._on_service)
        slices.add_handler(self._on_slice)

    # -- what changes

    @property
    def rendered(self) -> Mapping[str, RenderedService]:
        """What the rules say now, by service."""
        return self._rendered

    async def wait_synced_again(self) -> None:
        """Until the next successful sync."""
        await self._synced.wait()

    def set_node(self, node: Node) -> None:
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
            except IptablesError as error:
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

    async def sync(self) -> Restore:
        """Make the rules right once. On IptablesError all that was pending is pending again."""
        began = time.monotonic()
        taken = self._pending.take()
        self._changed.clear()
        is_full = self._full
        try:
            fresh = dict(self._render(taken.keys))
            restore = await self._apply({**self._rendered, **fresh}, is_full)
        except BaseException:
            self._witness = Witness()
            self._pending.put_back(taken)
            self._show_pending()
            self._full = True
            raise
        self._full = False
        await forget(sorted(self._stale(fresh)))
        self._commit(fresh)
        self._account(taken, restore, is_full, time.monotonic() - began)
        return restore

    def _render(self, keys: Iterable[str]) -> Iterable[tuple[str, RenderedService]]:
        for key in sorted(keys):
            try:
                yield (
                    key,
                    render_service(
                        self._services.get(key),
                        self._slices.by_index(BY_SERVICE, key),
                        self._node,
                        self._options,
                    ),
                )
            except Exception:
                # One service that we cannot read must not stop all others.
                log.exception("service not rendered, its rules stay", service=key)

    async def _apply(self, services: Mapping[str, RenderedService], is_full: bool) -> Restore:
        desired = assemble(services, self._options)
        before = self._iptables.generation()
        # What nobody touched need not be read, not even for a full sync.
        read = is_full and not self._witness.unchanged(before)
        if read:
            restore = await self._apply_full(desired)
        else:
            restore = changes(self._applied, desired, self._iptables.section_chains)
            await self._write(restore, metrics.PARTIAL_RESTORE_FAILURES.inc)
        self._applied = desired
        after = self._iptables.generation()
        self._witness.saw(before, after, restore.transactions, read=read)
        return restore

    async def _apply_full(self, desired: Tables) -> Restore:
        saved = translated(parse_save(await self._iptables.save()), self._dialect, self._applied)
        restore = full(saved, desired, JUMPS, self._iptables.section_chains)
        if restore.text:
            await self._write(restore)
            if misread(saved, self._applied):
                self._dialect = dialect(parse_save(await self._iptables.save()), desired)
        return restore

    async def _write(
        self, restore: Restore, count_failure: Callable[[], None] | None = None
    ) -> None:
        if not restore.text:
            return
        try:
            await self._iptables.restore(restore)
        except IptablesError:
            metrics.RESTORE_FAILURES.inc()
            if count_failure:
                count_failure()
            raise

    # -- afterwards

    def _stale(self, fresh: Mapping[str, RenderedService]) -> set[Flows]:
        return {
            flows
            for key, service in fresh.items()
            for flows in stale_flows(self._rendered.get(key, _NOTHING), service)
        }

    def _commit(self, fresh: Mapping[str, RenderedService]) -> None:
        for key, service in fresh.items():
            if service.ports:
                self._rendered[key] = service
            else:
                self._rendered.pop(key, None)

    def _account(self, taken: Pending, restore: Restore, is_full: bool, seconds: float) -> None:
        now = self._clock()
        metrics.SYNC.observe(seconds)
        (metrics.SYNC_FULL if is_full else metrics.SYNC_PARTIAL).observe(seconds)
        metrics.LAST_SYNC.set(now)
        # Wakes those that wait now, and nobody later.
        self._synced.set()
        self._synced.clear()
        for trigger in taken.triggers:
            metrics.PROGRAMMING.observe(max(0.0, now - trigger))
        self._count_rules(restore)
        self._show_pending()
        self._health.updated(now, still_queued=bool(self._pending.keys))
        if restore.text:
            log.info(
                "rules synced",
                full=is_full,
                chains=len(restore.chains),
                rules=sum(restore.written.values()),
                seconds=round(seconds, 4),
            )

    def _count_rules(self, restore: Restore) -> None:
        for table, chains in self._applied.items():
            metrics.RULES.labels(table=table).set(sum(map(len, chains.values())))
            metrics.RULES_LAST.labels(table=table).set(restore.written.get(table, 0))
        missing = [
            policy
            for service in self._rendered.values()
            for part in service.fragments
            for policy in part.without_local
        ]
        for policy in ("internal", "external"):
            metrics.NO_LOCAL_ENDPOINTS.labels(traffic_policy=policy).set(missing.count(policy))
