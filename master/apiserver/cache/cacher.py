"""All caches, fed by one watch of the store; and how fresh they are."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from kube.component.log import get_logger
from kube.machinery.errors import NotFound
from kube.stubs.etcd.kv_pb2 import Event, KeyValue
from master.apiserver.cache.resource import ResourceCache
from master.apiserver.etcd3.errors import Compacted, StoreError
from master.apiserver.etcd3.store import Store, prefix_end
from master.apiserver.etcd3.watch import watch_everything
from master.apiserver.kinds.kind import ROOT, AnyKind
from master.apiserver.kinds.registry import Registry

log = get_logger(__name__)
PAGE = 2000
RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 1.0


class StaleCache(Exception):
    """The cache did not reach a revision in time: the store's watch is broken or slow."""


# Objects of one kind as they are listed: rest of the key, value, revision.
Found = list[tuple[str, bytes, int]]


@dataclass(slots=True)
class _Filling:
    """A kind that came while the server runs: what happens to its objects while they are listed."""

    task: asyncio.Task[None]
    missed: list[Event] = field(default_factory=list)


class Cacher:
    """A cache for each stored kind of the registry, which it follows."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self.registry = registry
        self._caches: dict[str, ResourceCache] = {}  # by prefix
        self._filling: dict[str, _Filling] = {}
        self.revision = 0
        self._listed = False
        # What is claimed below each prefix, such as the cluster IPs of services.
        self.claims: dict[str, set[str]] = {}
        self._progress: asyncio.Future[None] | None = None
        self._reading: asyncio.Task[int] | None = None
        self._next_read: asyncio.Task[int] | None = None
        self.synced = asyncio.Event()
        self._follow()
        registry.on_change(self._follow)

    def __getitem__(self, kind: AnyKind) -> ResourceCache:
        """Raises NotFound when the kind has gone meanwhile."""
        try:
            return self._caches[kind.prefix]
        except KeyError:
            raise NotFound("the server could not find the requested resource") from None

    def holds(self, kind: AnyKind) -> bool:
        """Whether the kind's objects have been read from the store."""
        return self.synced.is_set() and self[kind].filled

    async def wait_filled(self, kind: AnyKind, timeout: float) -> None:
        """Until the objects of a kind that has just come have been read, if that is soon."""
        if filling := self._filling.get(kind.prefix):
            await asyncio.wait([filling.task], timeout=timeout)

    def _follow(self) -> None:
        """Begin and end caches as kinds come and go."""
        stored = {kind.prefix: kind for kind in self.registry.stored}
        for prefix in [prefix for prefix in self._caches if prefix not in stored]:
            self._caches.pop(prefix).close_watchers(expired=False)
            if filling := self._filling.pop(prefix, None):
                filling.task.cancel()
        for prefix, kind in stored.items():
            cache = self._caches.get(prefix)
            if cache is None:
                self._caches[prefix] = ResourceCache(kind)
                if self._listed:
                    self._fill(kind)
            elif cache.kind is not kind:
                cache.redeclare(kind)
        prefixes = [p for kind in stored.values() if kind.claims for p in kind.claims.prefixes]
        self.claims = {prefix: self.claims.get(prefix, set()) for prefix in prefixes}

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
        listed: dict[str, Found] = {prefix: [] for prefix in self._caches}
        self._stop_filling()
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
        for prefix, stored in listed.items():
            if prefix in self._caches:
                self._caches[prefix].replace(stored, revision)
        for cache in self._caches.values():
            if not cache.filled:  # came in the meantime
                self._fill(cache.kind)
        self.revision, self._listed = revision, True
        self._advance(revision)
        self.synced.set()
        log.info("caches filled", revision=revision, objects=sum(map(len, self._caches.values())))

    def _sort_in(self, listed: dict[str, Found], kv: KeyValue) -> None:
        key = kv.key.decode(errors="replace")
        found = self.registry.at_key(key)
        if found and found[0].prefix in listed:
            listed[found[0].prefix].append((found[1], kv.value, kv.mod_revision))
        else:
            self._note_claim(key, present=True)

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            key = event.kv.key.decode(errors="replace")
            deleted = event.type == Event.DELETE
            if found := self.registry.at_key(key):
                self._apply_one(found, event, deleted)
            else:
                self._note_claim(key, present=not deleted)
        if events:
            self._advance(max(event.kv.mod_revision for event in events))

    def _fill(self, kind: AnyKind) -> None:
        task = asyncio.create_task(self._list_one(kind), name=f"fill {kind.prefix}")
        self._filling[kind.prefix] = _Filling(task)

    def _stop_filling(self) -> None:
        """Everything is listed anew."""
        for filling in self._filling.values():
            filling.task.cancel()
        self._filling.clear()

    async def _list_one(self, kind: AnyKind) -> None:
        """Read what a kind that has just come has in the store already."""
        pause = RETRY_SECONDS
        while True:
            try:
                found, revision = await self._stored_below(kind.prefix)
                break
            except StoreError as error:
                log.warning("a kind's objects were not listed", kind=kind.prefix, error=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_RETRY_SECONDS)
        while self.revision < revision:
            # What the list shows must not come again as an event.
            with suppress(StaleCache):
                await self.wait_for(revision)
        cache = self._caches[kind.prefix]
        cache.replace(found, revision)
        for event in self._filling.pop(kind.prefix).missed:
            if event.kv.mod_revision > revision:
                tail = event.kv.key.decode(errors="replace")[len(kind.prefix) :]
                self._apply_one((kind, tail), event, event.type == Event.DELETE)

    async def _stored_below(self, prefix: str) -> tuple[Found, int]:
        """All objects below a prefix, at one revision."""
        found: Found = []
        start, end, revision = prefix.encode(), prefix_end(prefix.encode()), 0
        while True:
            page = await self._store.range(start, end, limit=PAGE, revision=revision)
            revision = revision or page.revision
            for kv in page.kvs:
                tail = kv.key.decode(errors="replace")[len(prefix) :]
                found.append((tail, kv.value, kv.mod_revision))
            if not page.more:
                return found, revision
            start = page.kvs[-1].key + b"\0"

    def _apply_one(self, found: tuple[AnyKind, str], event: Event, deleted: bool) -> None:
        if filling := self._filling.get(found[0].prefix):
            filling.missed.append(event)
            return
        cache = self._caches[found[0].prefix]
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
