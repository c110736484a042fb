"""Leader election by a Lease, as client-go's `leaderelection` with a LeaseLock does it.

Whoever writes its name into the Lease leads until it stops renewing. Expiry is judged by
the local clock since the record was last *seen* to change, so clocks need not agree.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from prometheus_client import Gauge

from kube.api.coordination import Lease, LeaseSpec
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.client.renewal import Renewal
from kube.component.log import get_logger
from kube.machinery.errors import NotFound, StatusError
from kube.machinery.times import format_micro, utc_now

log = get_logger(__name__)
MASTER_STATUS = Gauge(
    "leader_election_master_status", "1 while this process leads, by lease.", ["name"]
)


# How long work that is told to stop may take. What goes on for longer is stopped by ending.
_STOP_SECONDS = 1.0


class LeaseLost(Exception):
    """Another process may lead now: this one must stop at once."""


class NotRenewed(LeaseLost):
    """Nobody answered in time. Once its work has stopped, this process may stand again."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The record as last seen, and when (by our own clock) it was seen to change."""

    lease: Lease | None = None
    at: float = 0.0


def may_acquire(observed: Observed, identity: str, lease_duration: float, now: float) -> bool:
    """Whether the lease is free, ours, or has not been renewed for its whole duration."""
    if observed.lease is None:
        return True
    holder = observed.lease.spec.holder_identity
    if not holder or holder == identity:
        return True
    return now >= observed.at + lease_duration


def claimed(lease: Lease | None, identity: str, lease_duration: float, stamp: str) -> LeaseSpec:
    """The spec that makes, or keeps, `identity` the holder. Transitions count changes of it."""
    old = lease.spec if lease is not None else LeaseSpec()
    kept = old.holder_identity == identity
    transitions = (old.lease_transitions or 0) + (0 if kept or lease is None else 1)
    return msgspec.structs.replace(
        old,
        holder_identity=identity,
        lease_duration_seconds=max(1, math.ceil(lease_duration)),
        acquire_time=old.acquire_time if kept and old.acquire_time else stamp,
        renew_time=stamp,
        lease_transitions=transitions,
    )


class LeaseRecord:
    """The Lease and what we know of it; used by one event loop at a time."""

    def __init__(self, name: str, namespace: str, identity: str, lease_duration: float) -> None:
        self.name, self.namespace, self.identity = name, namespace, identity
        self._lease_duration = lease_duration
        self._observed = Observed()
        self._stale = True

    async def attempt(self, client: Client, *, leading: bool) -> bool:
        """One try to take or keep the lease; a failed call counts as a failed try."""
        try:
            return await self._try(client, leading=leading)
        except StatusError as error:
            log.debug("lease attempt failed", lease=self.name, error=str(error))
            return False

    async def _try(self, client: Client, *, leading: bool) -> bool:
        now = time.monotonic()
        if self._stale or not leading:
            await self._observe(client, now)
            self._stale = False
        if not may_acquire(self._observed, self.identity, self._lease_duration, now):
            if leading:
                raise LeaseLost(f'lease "{self.namespace}/{self.name}" has a new holder')
            return False
        await self._write(client)
        return True

    async def _observe(self, client: Client, now: float) -> None:
        try:
            lease = await client.get(Lease, self.name, self.namespace)
        except NotFound:
            self._observed = Observed(None, now)
            return
        known = self._observed.lease
        if known is None or known.spec != lease.spec:
            self._observed = Observed(lease, now)
        else:
            self._observed = Observed(lease, self._observed.at)

    async def _write(self, client: Client) -> None:
        old = self._observed.lease
        spec = claimed(old, self.identity, self._lease_duration, format_micro(utc_now()))
        try:
            if old is None:
                meta = ObjectMeta(name=self.name, namespace=self.namespace)
                lease = await client.create(Lease(metadata=meta, spec=spec))
            else:
                lease = await client.update(msgspec.structs.replace(old, spec=spec))
        except StatusError:
            # What we believed is stale: look again before the next try.
            self._stale = True
            raise
        self._observed = Observed(lease, time.monotonic())

    async def release(self, client: Client) -> None:
        """Empty the holder (client-go's ReleaseOnCancel); best effort, the lease expires anyway."""
        lease = self._observed.lease
        if lease is None:
            return
        spec = msgspec.structs.replace(
            lease.spec, holder_identity="", lease_duration_seconds=1,
            renew_time=format_micro(utc_now()),
        )  # fmt: skip
        try:
            async with asyncio.timeout(1.0):
                await client.update(msgspec.structs.replace(lease, spec=spec))
        except (StatusError, TimeoutError) as error:
            log.warning("lease not released", lease=self.name, error=str(error))


class LeaderElector:
    """Holds one Lease while `run` runs its work."""

    def __init__(
        self,
        client: Client,
        lease_name: str,
        identity: str,
        lease_duration: float = 15,
        renew_deadline: float = 10,
        retry_period: float = 2,
        namespace: str = "kube-system",
    ) -> None:
        # A server that does not answer must leave time to ask the next one.
        self._call_seconds = renew_deadline / 3
        self._client = client.with_timeout(self._call_seconds)
        self._record = LeaseRecord(lease_name, namespace, identity, lease_duration)
        self._name, self._identity = lease_name, identity
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        # From when the deadline is missed until another may lead.
        self._last_seconds = max(lease_duration - renew_deadline, 0.0)
        self._rng = random.Random()  # noqa: S311 - jitter needs no secrecy
        self.leading = False
        MASTER_STATUS.labels(name=lease_name).set(0)

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        """Wait to lead, then run `on_started`; raises LeaseLost when somebody else leads.

        A lease that could not be renewed (no api-server for so long) stops the work too, but as
        nobody need have taken it, this process stands again: its start would only cost more time.
        When the work ends or is cancelled the lease is given back, so that a successor need
        not wait for it to expire.
        """
        while True:
            try:
                await self._lead(on_started)
            except NotRenewed as error:
                log.warning("stopped leading", lease=self._name, error=str(error))
            else:
                return

    async def _lead(self, on_started: Callable[[], Awaitable[None]]) -> None:
        await self._acquire(self._client)
        self._set_leading(True)
        log.info("became leader", lease=self._name, identity=self._identity)
        work = asyncio.ensure_future(on_started())
        renewal = Renewal(self._keep_renewing, self._name, self._last_seconds)
        try:
            await asyncio.wait({work, renewal.ended}, return_when=asyncio.FIRST_COMPLETED)
            if renewal.ended.done():
                renewal.ended.result()
            await work
        finally:
            lost = renewal.ended.done()
            try:
                await _end(work)
            finally:
                await renewal.stop()
            self._set_leading(False)
            if not lost:
                await self._record.release(self._client)

    def _set_leading(self, leading: bool) -> None:
        self.leading = leading
        MASTER_STATUS.labels(name=self._name).set(int(leading))

    async def _acquire(self, client: Client) -> None:
        while True:
            if await self._record.attempt(client, leading=self.leading):
                return
            # client-go's JitterFactor 1.2: candidates do not try in step.
            await asyncio.sleep(self._retry_period * self._rng.uniform(1.0, 1.2))

    async def _keep_renewing(self) -> None:
        """In the loop of the renewal's own thread, over connections of its own."""
        async with self._client.apart(self._call_seconds) as client:
            while True:
                await asyncio.sleep(self._retry_period)
                try:
                    async with asyncio.timeout(self._renew_deadline):
                        await self._acquire(client)
                except TimeoutError:
                    raise NotRenewed(f'lease "{self._name}" not renewed') from None


async def _end(work: asyncio.Future[None]) -> None:
    """Cancel the work and wait. Raises LeaseLost where that does not stop it."""
    work.cancel()
    await asyncio.wait([work], timeout=_STOP_SECONDS)
    if not work.done():
        raise LeaseLost("work goes on although it was told to stop")
    if not work.cancelled():
        work.exception()  # what mattered was raised already: this is only to have been asked
