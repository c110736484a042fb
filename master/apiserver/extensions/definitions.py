"""Follows the CustomResourceDefinitions: what they declare is served, and they say so.

Every api-server does this for itself. What it writes to a definition's status is the same that the
others write, and writing the same again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from kube.api.apiextensions import (
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
)
from kube.api.meta import DeleteOptions
from kube.component.log import get_logger
from kube.machinery import scheme
from kube.machinery.errors import NotFound, StatusError
from kube.machinery.scheme import ApiObject
from master.apiserver.cache.cacher import Cacher, StaleCache
from master.apiserver.etcd3.errors import StoreError
from master.apiserver.extensions.definition import kinds_of
from master.apiserver.kinds.apiextensions.customresourcedefinition import (
    FINALIZER,
    KIND,
    is_true,
    with_condition,
)
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.kinds.registry import Registry
from master.apiserver.registry.metadata import timestamp, with_meta
from master.apiserver.registry.options import Target, WatchOptions, WriteOptions
from master.apiserver.registry.reader import INITIAL_EVENTS_END, Reader
from master.apiserver.registry.writer import Writer, at_once

log = get_logger(__name__)
_OPTIONS = WriteOptions(trusted=True)
RETRY_SECONDS = 0.5
FILL_SECONDS = 10.0
# Instances that are deleted at a time.
WORKERS = 16
# uid, generation, whether it is being deleted.
_State = tuple[str, int | None, bool]


class _Status(msgspec.Struct):
    status: CustomResourceDefinitionStatus = CustomResourceDefinitionStatus()


_status = msgspec.json.Decoder(_Status)


def _granted(data: bytes) -> CustomResourceDefinitionNames | None:
    """The names that a definition may use; of large definitions only the end is decoded."""
    status = _status.decode(data).status
    held = any(c.type == "NamesAccepted" and c.status == "True" for c in status.conditions)
    return status.accepted_names if held else None


class Definitions:
    def __init__(self, reader: Reader, writer: Writer, cacher: Cacher, registry: Registry) -> None:
        self._reader = reader
        self._writer = writer
        self._cacher = cacher
        self._registry = registry
        # What each definition has put into the registry, and of which state of it that was made.
        self._served: dict[str, tuple[_State, tuple[AnyKind, ...]]] = {}
        self._todo: asyncio.Queue[str] = asyncio.Queue()
        # All definitions that were there at the start are served.
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="definitions")
            tasks.create_task(self._work(), name="serve definitions")

    async def _follow(self) -> None:
        await self._cacher.synced.wait()
        while True:
            with suppress(StatusError, StoreError):
                await self._watch()
            await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self) -> None:
        options = WatchOptions(allow_bookmarks=True, send_initial_events=True)
        for name in self._served:
            self._todo.put_nowait(name)  # it may have gone while nobody watched
        async with await self._reader.watch(Target(KIND), options) as frames:
            async for frame in frames:
                if frame.type in ("ADDED", "MODIFIED", "DELETED"):
                    self._todo.put_nowait(scheme.decode_meta(frame.data).metadata.name)
                elif frame.type == "BOOKMARK" and INITIAL_EVENTS_END.encode() in frame.data:
                    self._todo.put_nowait("")

    async def _work(self) -> None:
        while True:
            name = await self._todo.get()
            if not name:
                self.synced.set()
                continue
            try:
                await self._reconcile(name)
            except (StatusError, StoreError, StaleCache) as error:
                log.warning("definition postponed", name=name, error=str(error))
                self._again(name)
            except Exception:
                # What one definition provokes must not keep the others from being served.
                log.exception("definition not served", name=name)

    def _again(self, name: str) -> None:
        asyncio.get_running_loop().call_later(RETRY_SECONDS, self._todo.put_nowait, name)

    async def _reconcile(self, name: str) -> None:
        entry = self._cacher[KIND].get(name)
        if entry is None:
            self._withdraw(name)
            return
        crd = scheme.decode(CustomResourceDefinition, entry.data)
        if crd.metadata.deletion_timestamp:
            await self._take_leave(name, crd)
            return
        conflict = self._conflict(name, crd)
        if conflict is None:
            await self._serve(name, crd)
        else:
            self._withdraw(name)
        await self._report(name, crd, conflict)

    # serving

    async def _serve(self, name: str, crd: CustomResourceDefinition) -> None:
        meta = crd.metadata
        state = (meta.uid, meta.generation, bool(meta.deletion_timestamp))
        known, old = self._served.get(name, (None, ()))
        if known == state:
            return
        kinds = kinds_of(crd)
        self._registry.change(remove=old, add=kinds)
        self._served[name] = (state, kinds)
        log.info("custom resource served", name=name, versions=[k.resource.version for k in kinds])
        # Who is told that it is established may list and watch at once.
        for kind in kinds[:1]:
            await self._cacher.wait_filled(kind.stored, FILL_SECONDS)

    def _withdraw(self, name: str) -> None:
        if served := self._served.pop(name, None):
            self._registry.remove(*served[1])
            log.info("custom resource withdrawn", name=name)

    def _conflict(self, name: str, crd: CustomResourceDefinition) -> tuple[str, str] | None:
        """Reason and message of the first name that somebody else has in this group."""
        names = crd.spec.names
        assert names is not None
        own = self._served[name][1] if name in self._served else ()
        kinds, words = self._accepted_elsewhere(name, crd.spec.group)
        for others in self._registry.groups.get(crd.spec.group, {}).values():
            for kind in others:
                if kind not in own:
                    resource = kind.resource
                    kinds |= {resource.kind, f"{resource.kind}List"}
                    words |= {resource.plural, resource.singular, *resource.short_names}
        wanted = [
            ("PluralConflict", names.plural, words),
            ("SingularConflict", names.singular, words),
            *(("ShortNamesConflict", short, words) for short in names.short_names),
            ("KindConflict", names.kind, kinds),
            ("ListKindConflict", names.list_kind, kinds),
        ]
        for reason, word, taken in wanted:
            if word in taken:
                return reason, f'"{word}" is already in use'
        return None

    def _accepted_elsewhere(self, name: str, group: str) -> tuple[set[str], set[str]]:
        """Kinds and other names that other definitions of the group were granted, served yet or
        not: after a restart the first to be looked at is not the first that came."""
        kinds: set[str] = set()
        words: set[str] = set()
        for entry in self._cacher[KIND].everything():
            if entry.name == name or not entry.name.endswith(f".{group}"):
                continue
            granted = _granted(entry.data)
            if granted is not None:
                kinds |= {granted.kind, granted.list_kind}
                words |= {granted.plural, granted.singular, *granted.short_names}
        return kinds, words

    # saying so

    async def _report(
        self, name: str, crd: CustomResourceDefinition, conflict: tuple[str, str] | None
    ) -> None:
        now = timestamp(datetime.now(UTC))
        reason, message = conflict or ("NoConflicts", "no conflicts found")
        accepted = CustomResourceDefinitionCondition(
            type="NamesAccepted", status=str(conflict is None), reason=reason, message=message,
            last_transition_time=now,
        )  # fmt: skip
        established = CustomResourceDefinitionCondition(
            type="Established", status="True", reason="InitialNamesAccepted",
            message="the initial names have been accepted", last_transition_time=now,
        )  # fmt: skip
        if conflict is not None:
            established = replace(
                established, status="False", reason="NotAccepted",
                message="not all names are accepted",
            )  # fmt: skip

        def reported(obj: ApiObject) -> ApiObject:
            assert isinstance(obj, CustomResourceDefinition)
            names = obj.status.accepted_names or CustomResourceDefinitionNames()
            if conflict is None:
                names = obj.spec.names or names
            obj = replace(obj, status=replace(obj.status, accepted_names=names))
            return with_condition(with_condition(obj, accepted), established)

        wanted = reported(crd)
        if msgspec.json.encode(wanted) != msgspec.json.encode(crd):
            await self._edit(name, reported, "status")

    async def _edit(
        self, name: str, change: Callable[[ApiObject], ApiObject], subresource: str = ""
    ) -> None:
        target = Target(KIND, "", name, subresource)
        with suppress(NotFound):
            await self._writer.edit(target, at_once(change), _OPTIONS)

    # going

    async def _take_leave(self, name: str, crd: CustomResourceDefinition) -> None:
        """Its instances go, then the definition may."""
        if FINALIZER not in crd.metadata.finalizers:
            return
        if is_true(crd, "Established"):
            await self._serve(name, crd)
        if name in self._served and await self._instances_left(self._served[name][1]):
            self._again(name)
            return

        def released(obj: ApiObject) -> ApiObject:
            left = tuple(f for f in obj.metadata.finalizers if f != FINALIZER)
            return with_meta(obj, finalizers=left)

        await self._edit(name, released)

    async def _instances_left(self, kinds: tuple[AnyKind, ...]) -> bool:
        """Ask for the deletion of all; finalizers may keep some for a while."""
        if not kinds:
            return False
        stored = kinds[0].stored
        await self._cacher.wait_fresh()
        found = [scheme.decode_meta(e.data).metadata for e in self._cacher[stored].everything()]
        left = iter([meta for meta in found if not meta.deletion_timestamp])

        async def delete_some() -> None:
            for meta in left:
                with suppress(NotFound):
                    one = Target(stored, meta.namespace, meta.name)
                    await self._writer.delete(one, DeleteOptions())

        await asyncio.gather(*(delete_some() for _ in range(WORKERS)))
        await self._cacher.wait_fresh()
        return bool(len(self._cacher[stored]))
