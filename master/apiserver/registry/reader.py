"""get, list and watch: from the watch cache where that is as fresh as the store, else from it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec

from kube.machinery.errors import (
    BadRequest,
    Expired,
    ServiceUnavailable,
    Timeout,
    encode_status,
    not_found,
)
from kube.machinery.selectors import SelectorError, parse_fields, parse_labels
from master.apiserver.cache.cacher import Cacher, StaleCache
from master.apiserver.cache.entry import Entry, Selection, make_entry
from master.apiserver.cache.resource import ResourceCache
from master.apiserver.cache.watcher import Watcher, WatcherClosed
from master.apiserver.cache.window import BOOKMARK, as_seen
from master.apiserver.decoding import query
from master.apiserver.etcd3.store import Store, prefix_end
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.registry.options import Listed, ListOptions, Target, WatchOptions
from master.apiserver.storage.codec import shown, with_revision
from master.apiserver.storage.fields import supported_fields
from master.apiserver.storage.keys import key_of, tail_of

# How often an idle watch hears the current revision, so that it can resume from there.
BOOKMARK_SECONDS = 10.0
STORE_PAGE = 500
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class Frame:
    """One watch event: its type and the object's JSON."""

    type: str
    data: bytes


# Nothing has happened for a while: front ends look whether their client is still there.
IDLE = Frame("", b"")


class WatchStream:
    """The frames of one watch, to be used as `async with stream as frames`.

    Leaving the block takes the watcher out of the cache, also when nothing was ever read.
    """

    def __init__(
        self, cache: ResourceCache, watcher: Watcher, frames: AsyncGenerator[Frame, None]
    ) -> None:
        self._cache = cache
        self._watcher = watcher
        self._frames = frames

    def on_cut(self, cut: Callable[[], None]) -> None:
        """What to do when the client is given up while something is being written to it."""
        self._watcher.cut = cut

    async def __aenter__(self) -> AsyncIterator[Frame]:
        return self._frames

    async def __aexit__(self, *_: object) -> None:
        self._cache.remove_watcher(self._watcher)
        await self._frames.aclose()


class _Token(msgspec.Struct):
    """What a `continue` value holds: the list's revision and the last key already given."""

    rv: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    start: str


# What is no key of ours could begin the range somewhere else.
_TOKEN_START = re.compile(r"[^/\x00-\x1f]{1,253}(/[^/\x00-\x1f]{1,253})?")


def encode_token(revision: int, last: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token(revision, last))).decode()


def decode_token(text: str) -> tuple[int, str]:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise BadRequest(f"continue key is not valid: {error}") from error
    if not _TOKEN_START.fullmatch(token.start):
        raise BadRequest(f"continue key is not valid: {token.start[:80]!r}")
    return token.rv, token.start


def selection_of(
    kind: AnyKind, namespace: str, labels: str, fields: str, name: str = ""
) -> Selection:
    """Parse both selectors. Raises BadRequest with upstream's texts."""
    try:
        label_selector = parse_labels(labels)
        field_selector = parse_fields(fields)
    except SelectorError as error:
        raise BadRequest(str(error)) from error
    supported = supported_fields(kind.stored)
    for requirement in field_selector:
        if requirement.field not in supported:
            raise BadRequest(f"field label not supported: {requirement.field}")
    if name:
        field_selector = (*field_selector, *parse_fields(f"metadata.name={name}"))
    return Selection(namespace, label_selector, field_selector)


class Reader:
    """Reads what is stored, and shows it in the version of the target's kind."""

    def __init__(self, store: Store, cacher: Cacher) -> None:
        self._store = store
        self._cacher = cacher

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """The object's JSON, by a linearizable read unless an older state will do."""
        kind, stored = target.kind, target.kind.stored
        wanted = query.revision(resource_version)
        if resource_version and self._cacher.holds(stored):
            await self._wait_for(wanted)
            entry = self._cacher[stored].get(tail_of(stored, target.namespace, target.name))
            if entry:
                return shown(kind, entry.data)
        kv, _ = await self._store.get(key_of(stored, target.namespace, target.name))
        if kv is None:
            raise not_found(kind.resource.plural, kind.resource.group, target.name)
        return shown(kind, with_revision(stored, kv.value, kv.mod_revision))

    # list

    async def list(self, target: Target, options: ListOptions) -> Listed:
        listed = await self._list(target, options)
        if target.kind.conversion is None:
            return listed
        return replace(listed, items=[shown(target.kind, data) for data in listed.items])

    async def _list(self, target: Target, options: ListOptions) -> Listed:
        # A name (only gRPC has one here) is what the authorizer judged by, so it selects as well.
        selection = selection_of(
            target.kind,
            target.namespace,
            options.label_selector,
            options.field_selector,
            target.name,
        )
        if options.continue_:
            revision, start = decode_token(options.continue_)
            return await self._list_store(target, selection, options.limit, revision, start)
        wanted = query.revision(options.resource_version)
        if options.resource_version_match == "Exact" and wanted:
            return await self._list_store(target, selection, options.limit, wanted, "")
        if not self._cacher.holds(target.kind.stored):
            return await self._list_store(target, selection, options.limit, 0, "")
        if options.resource_version:
            await self._wait_for(wanted)
        else:
            try:
                await self._cacher.wait_fresh()
            except StaleCache:
                return await self._list_store(target, selection, options.limit, 0, "")
        return self._list_cache(target.kind.stored, selection, options.limit)

    def _list_cache(self, kind: AnyKind, selection: Selection, limit: int) -> Listed:
        revision = self._cacher.revision
        found = self._cacher[kind].select(selection)
        if not limit:
            return Listed([entry.data for entry in found], str(revision))
        page: list[Entry] = []
        for entry in found:
            if len(page) == limit:
                # Only a list without selectors knows cheaply how many are left.
                left = 1 + sum(1 for _ in found) if selection.everything else None
                token = encode_token(revision, page[-1].key)
                return Listed([e.data for e in page], str(revision), token, left)
            page.append(entry)
        return Listed([entry.data for entry in page], str(revision))

    async def _list_store(
        self, target: Target, selection: Selection, limit: int, revision: int, start: str
    ) -> Listed:
        """A list at `revision` (0: now) from the first key after `start`, page by page."""
        kind = target.kind.stored
        prefix = kind.prefix + (f"{target.namespace}/" if target.namespace else "")
        end = prefix_end(prefix.encode())
        key = (kind.prefix + start).encode() + b"\0" if start else prefix.encode()
        items: list[bytes] = []
        while True:
            page = await self._store.range(
                key, end, limit=min(limit, STORE_PAGE) or STORE_PAGE, revision=revision
            )
            revision = revision or page.revision
            for index, kv in enumerate(page.kvs):
                tail = kv.key.decode()[len(kind.prefix) :]
                entry = make_entry(kind, tail, kv.value, kv.mod_revision)
                if not selection.matches(entry):
                    continue
                items.append(entry.data)
                remaining = page.count - index - 1
                if limit and len(items) == limit and remaining:
                    left = (
                        remaining
                        if not (selection.labels.requirements or selection.fields)
                        else None
                    )
                    return Listed(items, str(revision), encode_token(revision, tail), left)
            if not page.more:
                return Listed(items, str(revision))
            key = page.kvs[-1].key + b"\0"

    async def _wait_for(self, revision: int) -> None:
        try:
            await self._cacher.wait_for(revision)
        except StaleCache:
            raise Timeout(
                f"Too large resource version: {revision}, current: {self._cacher.revision}"
            ) from None

    # watch

    async def watch(self, target: Target, options: WatchOptions) -> WatchStream:
        """Events from the given resourceVersion on, until timeout or the cache ends the watch.

        Raises Expired before the first event when the resourceVersion is too old; later
        problems come as an ERROR frame, as HTTP has no other place for them.
        """
        kind, stored = target.kind, target.kind.stored
        selection = selection_of(
            kind, target.namespace, options.label_selector, options.field_selector, target.name
        )
        if not self._cacher.holds(stored):
            raise ServiceUnavailable("the watch cache is not filled yet, please try again")
        start = query.revision(options.resource_version)
        await self._ready_for_watch(options, start)
        watcher = self._start_watcher(stored, selection, options, start)
        frames = self._frames(kind, watcher, options)
        return WatchStream(self._cacher[stored], watcher, frames)

    async def _ready_for_watch(self, options: WatchOptions, start: int) -> None:
        if options.resource_version:
            await self._wait_for(start)
            return
        try:
            await self._cacher.wait_fresh()
        except StaleCache as error:
            raise ServiceUnavailable(f"the watch cache is behind the store: {error}") from error

    def _start_watcher(
        self, kind: AnyKind, selection: Selection, options: WatchOptions, start: int
    ) -> Watcher:
        """Without awaiting in between: the first events, and the registration for the rest."""
        cache = self._cacher[kind]
        if start == 0 or options.send_initial_events:
            initial = tuple(cache.select(selection))
            watcher = Watcher(selection, self._cacher.revision, initial)
        elif not cache.window.covers(start):
            raise Expired(f"too old resource version: {start} ({cache.window.horizon})")
        else:
            seen = (as_seen(event, selection) for event in cache.window.after(start))
            watcher = Watcher(selection, start, missed=filter(None, seen))
        cache.add_watcher(watcher)
        return watcher

    async def _frames(
        self, kind: AnyKind, watcher: Watcher, options: WatchOptions
    ) -> AsyncGenerator[Frame, None]:
        loop = asyncio.get_running_loop()
        end = loop.time() + (options.timeout_seconds or float("inf"))
        initial_end = options.send_initial_events and options.allow_bookmarks
        try:
            while (left := end - loop.time()) > 0:
                wait = 0.0 if initial_end else min(BOOKMARK_SECONDS, left)
                batch = await watcher.next_batch(wait)
                for type_, entry in batch:
                    yield Frame(type_, shown(kind, entry.data))
                if batch:
                    continue
                if options.allow_bookmarks:
                    yield Frame(BOOKMARK, self._bookmark(kind, initial_end))
                else:
                    yield IDLE
                initial_end = False
        except WatcherClosed as closed:
            if closed.expired:
                error = Expired("too old resource version: the store's history was compacted")
                yield Frame("ERROR", encode_status(error))

    def _bookmark(self, kind: AnyKind, initial_end: bool) -> bytes:
        meta: dict[str, object] = {"resourceVersion": str(self._cacher.revision)}
        if initial_end:
            meta["annotations"] = {INITIAL_EVENTS_END: "true"}
        return msgspec.json.encode(
            {
                "kind": kind.resource.kind,
                "apiVersion": kind.resource.api_version,
                "metadata": meta,
            }
        )
