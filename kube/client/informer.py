"""A local copy of a collection, kept fresh by list and watch, that tells its handlers.

Follows client-go's reflector and shared informer: list once, watch from there, go on from
the last resource_version after a broken stream, list again only when that version is gone.
Handlers run on the event loop and must only note a key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from kube.client.client import Client, WatchEvent
from kube.component.log import get_logger
from kube.machinery.errors import Expired, StatusError
from kube.machinery.scheme import ApiObject, Resource, key_of, resource_for

log = get_logger(__name__)
T = TypeVar("T", bound=ApiObject)
# type is ADDED, MODIFIED or DELETED; old is None for ADDED, new is None for DELETED.
Handler = Callable[[str, T | None, T | None], None]
IndexFunction = Callable[[T], Iterable[str]]
# Told of each "list" and "watch" that was begun, and whether it went well.
Observe = Callable[[str, bool], None]


class Backoff:
    """Doubling delays with jitter, so that a returning server is not stormed at once."""

    def __init__(self, rng: random.Random, first: float = 0.05, most: float = 1.0) -> None:
        self._rng, self._first, self._most = rng, first, most
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def delay(self) -> float:
        delay, self._next = self._next, min(self._next * 2, self._most)
        return delay * self._rng.uniform(0.5, 1.0)


class Informer(Generic[T]):
    """`store` maps "ns/name" (or "name") to the newest known object."""

    def __init__(
        self,
        client: Client,
        type_: type[T],
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
        resource: Resource | None = None,
        observe: Observe = lambda verb, well: None,
    ) -> None:
        """`resource` is what is followed when `type_` does not tell (see `Client`)."""
        self._client = client
        self._observe = observe
        self._type = type_
        self._resource = resource or resource_for(type_)
        self._namespace = namespace
        self._field_selector = field_selector
        self._label_selector = label_selector
        self.store: dict[str, T] = {}
        self.resource_version = ""
        # Whether the watch stands: while it does not, the store may be behind.
        self.watching = False
        self._handlers: list[Handler[T]] = []
        self._indexes: dict[str, _Index[T]] = {}
        self._synced = asyncio.Event()
        self._backoff = Backoff(random.Random())  # noqa: S311 - jitter needs no secrecy

    # -- what readers use

    def get(self, key: str) -> T | None:
        return self.store.get(key)

    def values(self) -> list[T]:
        return list(self.store.values())

    def add_handler(self, on_event: Handler[T]) -> None:
        """Call `on_event(type, old, new)` on each change; what is known already comes first."""
        self._handlers.append(on_event)
        for obj in list(self.store.values()):
            self._call(on_event, "ADDED", None, obj)

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Keep objects findable by the values that `function` gives for them."""
        index = _Index(function)
        for key, obj in self.store.items():
            index.replace(key, None, obj)
        self._indexes[name] = index

    def by_index(self, name: str, value: str) -> list[T]:
        return [self.store[key] for key in self._indexes[name].keys_of(value)]

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Until the first list is in the store."""
        await self._synced.wait()

    # -- what keeps it fresh

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                if not self.resource_version:
                    await self._list()
                await self._watch()
            except Expired:
                self.resource_version = ""
            except StatusError as error:
                self._observe("watch" if self.resource_version else "list", False)
                delay = self._backoff.delay()
                log.debug("watch broken", resource=self._name, error=str(error), retry_in=delay)
                await asyncio.sleep(delay)

    @property
    def _name(self) -> str:
        return self._resource.plural

    async def _list(self) -> None:
        listing = await self._client.list(
            self._type,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            resource=self._resource,
        )
        fresh = {key_of(obj): obj for obj in listing.items}
        for key in [key for key in self.store if key not in fresh]:
            self._apply(key, None)
        for key, obj in fresh.items():
            known = self.store.get(key)
            if known is None or known.metadata.resource_version != obj.metadata.resource_version:
                self._apply(key, obj)
        self.resource_version = listing.resource_version
        self._observe("list", True)
        self._backoff.reset()
        self._synced.set()

    async def _watch(self) -> None:
        stream = self._client.watch(
            self._type,
            self._namespace,
            resource_version=self.resource_version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            on_open=self._opened,
            resource=self._resource,
        )
        try:
            async for event in stream:
                self._on_watch_event(event)
        finally:
            self.watching = False

    def _opened(self) -> None:
        self.watching = True
        self._observe("watch", True)
        self._backoff.reset()

    def _on_watch_event(self, event: WatchEvent[T]) -> None:
        self.resource_version = event.object.metadata.resource_version
        if event.type == "BOOKMARK":
            return
        key = key_of(event.object)
        if event.type == "DELETED":
            # The last state, so that handlers see what was true when it went.
            self._apply(key, None, final=event.object)
        else:
            self._apply(key, event.object)

    def _apply(self, key: str, new: T | None, final: T | None = None) -> None:
        old = self.store.get(key)
        if old is not None and new is not None and old.metadata.uid != new.metadata.uid:
            # Deleted and made again while nobody watched: two objects, so two events.
            self._apply(key, None)
            old = None
        if new is None:
            if old is None:
                return
            del self.store[key]
        else:
            self.store[key] = new
        for index in self._indexes.values():
            index.replace(key, old, new)
        kind = "DELETED" if new is None else "ADDED" if old is None else "MODIFIED"
        for handler in self._handlers:
            self._call(handler, kind, final or old, new)

    def _call(self, handler: Handler[T], kind: str, old: T | None, new: T | None) -> None:
        try:
            handler(kind, old, new)
        except Exception:
            # One broken handler must not stop the stream that all others live on.
            log.exception("informer handler failed", resource=self._name, type=kind)


class _Index(Generic[T]):
    """value -> keys of the objects that have it, in insertion order."""

    def __init__(self, function: IndexFunction[T]) -> None:
        self._function = function
        self._keys: dict[str, dict[str, None]] = {}

    def replace(self, key: str, old: T | None, new: T | None) -> None:
        for value in self._function(old) if old is not None else ():
            keys = self._keys.get(value, {})
            keys.pop(key, None)
            if not keys:
                self._keys.pop(value, None)
        for value in self._function(new) if new is not None else ():
            self._keys.setdefault(value, {})[key] = None

    def keys_of(self, value: str) -> list[str]:
        return list(self._keys.get(value, ()))


def owned_by(obj: ApiObject) -> Iterable[str]:
    """An index function: the uid of the controlling owner."""
    return [ref.uid for ref in obj.metadata.owner_references if ref.controller]
