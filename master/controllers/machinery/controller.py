"""What every controller is: informers that add keys, a queue, workers that reconcile.

A controller sets `name`, says in `__init__` what it watches and writes `reconcile(key)`; its
flags, if it has any, stand beside it (`add_flags`, `from_flags`). Decisions are in the pure
functions of its module; `reconcile` only carries them out. One line in `master.controllers.all`
makes it run.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from kube.client.client import Client
from kube.client.events import EventRecorder
from kube.client.informer import Informer
from kube.client.kinds import Kinds
from kube.client.workqueue import ShutDown, WorkQueue
from kube.component.log import get_logger
from kube.machinery.errors import Conflict, StatusError
from kube.machinery.scheme import ApiObject, Resource, resource_for
from kube.machinery.times import utc_now
from master.controllers.machinery.watching import Changed, any_change, own_key

log = get_logger(__name__)
T = TypeVar("T", bound=ApiObject)
V = TypeVar("V")


class Retry(Exception):
    """Part of the work failed and has been reported: try the key again later."""


class Informers:
    """One informer for each kind, shared by all controllers of the process."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[Resource, Informer[Any]] = {}
        self._running: dict[Resource, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def of(self, type_: type[T]) -> Informer[T]:
        resource = resource_for(type_)
        if resource not in self._informers:
            self._add(resource, Informer(self._client, type_))
        return self._informers[resource]

    def metadata_of(self, resource: Resource) -> Informer[Any]:
        """For who reads nothing but metadata: what another controller follows anyway, or else an
        informer that holds no more than that."""
        if resource not in self._informers:
            self._add(resource, Informer(self._client, ApiObject, resource=resource))
        return self._informers[resource]

    def drop(self, resource: Resource) -> None:
        """Forget a kind that is served no more."""
        self._informers.pop(resource, None)
        if task := self._running.pop(resource, None):
            task.cancel()

    def _add(self, resource: Resource, informer: Informer[Any]) -> None:
        self._informers[resource] = informer
        if self._tasks is not None:
            self._start(resource, informer)

    def _start(self, resource: Resource, informer: Informer[Any]) -> None:
        assert self._tasks is not None
        name = f"informer {resource.plural}"
        self._running[resource] = self._tasks.create_task(informer.run(), name=name)

    @property
    def synced(self) -> bool:
        return all(informer.synced for informer in self._informers.values())

    async def wait_synced(self) -> None:
        for informer in list(self._informers.values()):
            await informer.wait_synced()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for resource, informer in self._informers.items():
                self._start(resource, informer)


# Calls of the controllers' bursts that are on their way at a time. More would only wait in the
# api-server, and everybody else's calls behind them.
WRITES_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Context:
    """What a controller is given: ways in, ways out, and the clock."""

    client: Client
    informers: Informers
    kinds: Kinds
    recorder: EventRecorder
    now: Callable[[], datetime] = field(default=utc_now)
    writes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WRITES_AT_ONCE))


# Makes a controller once its process leads.
Maker = Callable[[Context], "Controller"]


class Controller:
    """The shell of a controller. One key is never reconciled twice at once."""

    name = "controller"
    # Who its events are from (`kubectl describe`).
    event_source = "controller-manager"
    workers = 5

    def __init__(self, context: Context) -> None:
        self.client = context.client
        self.informers = context.informers
        self.kinds = context.kinds
        self.recorder = context.recorder.named(self.event_source)
        self.now = context.now
        self.writes = context.writes
        self.queue = WorkQueue(self.name)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add the flags that are this controller's own."""

    @classmethod
    def from_flags(cls, args: argparse.Namespace) -> Maker | None:
        """How to make it; None when its flags switch it off. ValueError for what can't be meant."""
        return cls

    def watch(
        self,
        type_: type[T],
        to_keys: Callable[[T], Iterable[str]] = own_key,
        when: Changed = any_change,
    ) -> Informer[T]:
        """Follow a type: queue the keys that an object concerned before and concerns now."""
        informer = self.informers.of(type_)

        def on_event(kind: str, old: T | None, new: T | None) -> None:
            if when(old, new):
                keys = {key: None for obj in (old, new) if obj is not None for key in to_keys(obj)}
                for key in keys:
                    self.enqueue(key)

        informer.add_handler(on_event)
        return informer

    def enqueue(self, key: str) -> None:
        """What `watch` does with a key."""
        self.queue.add(key)

    async def reconcile(self, key: str) -> None:
        """Make one object as it should be. May run at any time, any number of times."""
        raise AssertionError(f"{type(self).__name__} reconciles nothing")

    async def all_of(self, calls: Iterable[Awaitable[V]]) -> list[V]:
        """The results of calls to the api-server, of which few are on their way at a time."""

        async def one(call: Awaitable[V]) -> V:
            async with self.writes:
                return await call

        return await asyncio.gather(*(one(call) for call in calls))

    async def run(self) -> None:
        """Work until cancelled."""
        await self.informers.wait_synced()
        await self._work_all()

    async def _work_all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.workers):
                tasks.create_task(self._work(), name=f"{self.name} {number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                await self._reconcile_once(key)
            finally:
                self.queue.done(key)

    async def _reconcile_once(self, key: str) -> None:
        try:
            await self.reconcile(key)
        except (Conflict, Retry) as error:
            # Ordinary: the cache was behind. The next try sees the newer object.
            log.debug("retrying", controller=self.name, key=key, error=str(error))
            self.queue.add_rate_limited(key)
        except StatusError as error:
            log.warning("reconcile failed", controller=self.name, key=key, error=str(error))
            self.queue.add_rate_limited(key)
        except Exception:
            # A bug that one object provokes must not stop the work on all others.
            log.exception("reconcile crashed", controller=self.name, key=key)
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)


def namespace_and_name(key: str) -> tuple[str, str]:
    """`ns/name` or `name`, apart."""
    namespace, _, name = key.rpartition("/")
    return namespace, name
