"""All caches, fed by one watch of the store; and how fresh they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from kube.component.log import get_logger
from kube.machinery.scheme import RESOURCES, Resource
from kube.stubs.etcd.kv_pb2 import Event, KeyValue
from master.apiserver.cache.resource import ResourceCache
from master.apiserver.etcd3.errors import Compacted, StoreError
from master.apiserver.etcd3.store import Store, prefix_end
from master.apiserver.etcd3.watch import watch_everything
from master.apiserver.storage.keys import CLAIMS, ROOT, resource_of_key

log = get_logger(__name__)
PAGE = 2000
RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 1.0


class StaleCache(Exception):
    """The cache did not reach a revision in time: the store's watch is broken or slow."""


class Cacher:
    def __init__(self, store: Store, resources: Iterable[Resource] = RESOURCES) -> None:
        self._store = store
        self._caches = {resource: ResourceCache(resource) for resource in resources}
        self.revision = 0
        self._listed = False
        # What is claimed below each prefix, such as the cluster IPs of services.
        self.claims: dict[str, set[str]] = {prefix: set() for prefix in CLAIMS}
        self._progress: asyncio.Future[None] | None = None
        self._reading: asyncio.Task[int] | None = None
        self._next_read: asyncio.Task[int] | None = None
        self.synced = asyncio.Event()

    def __getitem__(self, resource: Resource) -> ResourceCache:
        return self._caches[resource]

    def close_watchers(self) -> None:
        """End all watches because the server stops; clients go on at another one."""
        for cache in self._caches.values():
            cache.close_watchers(expired=False)

    # freshness

    async def wait_for(self, revision: int, timeout: float = 3.0) -> None:
        """Return when the caches hold everything up to `revision`. Raises StaleCache."""
        try:
            async with asyncio.timeout(timeout):
                while self.revision < revision:
                    if self._progress is None or self._progress.done():
                        self._progress = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._progress)
        except TimeoutError:
            raise StaleCache(f"cache at {self.revision}, wanted {revision}") from None

    async def wait_fresh(self) -> int:
        """Wait until the caches are as new as the store is now; KEP-2340's consistent read."""
        revision = await self._store_revision()
        await self.wait_for(revision)
        return self.revision

    async def _store_revision(self) -> int:
        """The store's revision, read once for all who asked before the read began."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._store.revision(), name="read revision")
            return await asyncio.shield(self._reading)
        if self._next_read is None or self._next_read.done():
            self._next_read = asyncio.create_task(
                self._read_after(self._reading), name="read revision next"
            )
        return await asyncio.shield(self._next_read)

    async def _read_after(self, running: asyncio.Task[int]) -> int:
        await asyncio.wait([running])
        self._reading, self._next_read = self._next_read, None
        return await self._store.revision()

    # feeding

    async def run(self) -> None:
        """Keep the caches fed, for ever, through every outage of the store."""
        pause = RETRY_SECONDS
        while True:
            try:
                if not self._listed:
                    await self._list_all()
                async for events in watch_everything(self._store.connection, self.revision + 1):
                    pause = RETRY_SECONDS
                    self._apply(events)
            except Compacted:
                log.warning("the store compacted past the cache; listing again")
                self._listed = False
            except StoreError as error:
                log.warning("the store's watch broke", error=str(error), revision=self.revision)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_RETRY_SECONDS)

    async def _list_all(self) -> None:
        """Read everything at one revision and begin the caches from it."""
        listed: dict[Resource, list[tuple[str, bytes, int]]] = {r: [] for r in self._caches}
        for claimed in self.claims.values():
            claimed.clear()
        revision, start, more = 0, ROOT.encode(), True
        while more:
            page = await self._store.range(
                start, prefix_end(ROOT.encode()), limit=PAGE, revision=revision
            )
            revision = revision or page.revision
            for kv in page.kvs:
                self._sort_in(listed, kv)
            more = page.more
            if page.kvs:
                start = page.kvs[-1].key + b"\0"
        for resource, stored in listed.items():
            self._caches[resource].replace(stored, revision)
        self.revision, self._listed = revision, True
        self._advance(revision)
        self.synced.set()
        log.info("caches filled", revision=revision, objects=sum(map(len, self._caches.values())))

    def _sort_in(self, listed: dict[Resource, list[tuple[str, bytes, int]]], kv: KeyValue) -> None:
        key = kv.key.decode(errors="replace")
        if found := resource_of_key(key):
            listed[found[0]].append((found[1], kv.value, kv.mod_revision))
        else:
            self._note_claim(key, present=True)

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            key = event.kv.key.decode(errors="replace")
            deleted = event.type == Event.DELETE
            if found := resource_of_key(key):
                self._apply_one(found, event, deleted)
            else:
                self._note_claim(key, present=not deleted)
        if events:
            self._advance(max(event.kv.mod_revision for event in events))

    def _apply_one(self, found: tuple[Resource, str], event: Event, deleted: bool) -> None:
        cache = self._caches[found[0]]
        try:
            if deleted:
                cache.delete(found[1], event.kv.mod_revision)
            else:
                cache.put(found[1], event.kv.value, event.kv.mod_revision)
        except msgspec.MsgspecError as error:  # a foreign value that is no object of ours
            log.error("unreadable object in the store", key=found[1], error=str(error))

    def _note_claim(self, key: str, present: bool) -> None:
        claim = key.removeprefix(ROOT)
        for prefix, claimed in self.claims.items():
            if claim.startswith(prefix):
                name = claim[len(prefix) :]
                claimed.add(name) if present else claimed.discard(name)

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        if self._progress and not self._progress.done():
            self._progress.set_result(None)
