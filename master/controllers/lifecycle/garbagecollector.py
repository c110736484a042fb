"""The garbage collector: objects go with their owners, in the way their deletion asked for.

Background: the owner goes first and its dependents follow. Foreground: the owner waits with
a finalizer until those that block it are gone. Orphan: they lose their reference and stay.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from kube.api.core import Event
from kube.api.meta import OwnerReference
from kube.component.log import get_logger
from kube.machinery.errors import NotFound
from kube.machinery.scheme import ApiObject, OpenObject, Resource, resource_for
from master.controllers.lifecycle.ownergraph import (
    FOREGROUND,
    ORPHAN,
    Item,
    OwnerGraph,
    item_of,
    judge,
)
from master.controllers.machinery.controller import Context, Controller

log = get_logger(__name__)
# Events refer to nothing and nothing to them; they go by their time to live.
NOT_COLLECTED = (resource_for(Event),)


class GarbageCollector(Controller):
    """Keys are uids."""

    name = "garbage_collector_attempt_to_delete"
    workers = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.graph = OwnerGraph()
        self._followed: set[Resource] = set()

    async def run(self) -> None:
        self.kinds.on_change(self._follow_kinds)
        await self.kinds.wait_known()
        await super().run()

    def _follow_kinds(self) -> None:
        """Begin with kinds that are new, end with those that are served no more."""
        served = {resource for resource in self.kinds.stored if resource not in NOT_COLLECTED}
        for resource in served - self._followed:
            self._follow(resource)
        for resource in self._followed - served:
            # What controllers of their own follow does not go.
            if resource.type is OpenObject:
                self.informers.drop(resource)
            for item in [i for i in self.graph.items.values() if i.resource == resource]:
                self._gone(item.uid)
        self._followed = served

    def _follow(self, resource: Resource) -> None:
        def on_event(kind: str, old: ApiObject | None, new: ApiObject | None) -> None:
            if new is None:
                assert old is not None
                self._gone(old.metadata.uid)
            else:
                self._seen(item_of(resource, new.metadata))

        self.informers.metadata_of(resource).add_handler(on_event)

    # -- events to keys

    def _seen(self, item: Item) -> None:
        known = self.graph.items.get(item.uid)
        if known == item:
            return
        self.graph.put(item)
        if item.owners and (known is None or known.owners != item.owners):
            self.queue.add(item.uid)
        if item.deletes_dependents_first or item.orphans_dependents:
            self.queue.add(item.uid)
            for dependent in self.graph.dependents(item.uid):
                self.queue.add(dependent.uid)
        # A dependent that stopped blocking lets its waiting owner go.
        if known is not None and known.owners != item.owners:
            self._enqueue_owners(known)

    def _gone(self, uid: str) -> None:
        item = self.graph.items.get(uid)
        self.graph.drop(uid)
        for dependent in self.graph.dependents(uid):
            self.queue.add(dependent.uid)
        if item is not None:
            self._enqueue_owners(item)

    def _enqueue_owners(self, item: Item) -> None:
        for ref in item.owners:
            owner = self.graph.items.get(ref.uid)
            if owner is not None and owner.deletes_dependents_first:
                self.queue.add(owner.uid)

    # -- keys to actions

    async def reconcile(self, key: str) -> None:
        item = self.graph.items.get(key)
        if item is None:
            return
        if item.orphans_dependents:
            await self._orphan(item)
        elif item.deletes_dependents_first:
            await self._release_if_alone(item)
        elif item.owners and not item.deleting:
            await self._judge(item)

    async def _judge(self, item: Item) -> None:
        absent, waiting = set(), set()
        for ref in item.owners:
            owner = self.graph.items.get(ref.uid)
            if owner is None:
                if await self._is_absent(item, ref):
                    absent.add(ref.uid)
            elif owner.deletes_dependents_first and ref.block_owner_deletion:
                waiting.add(ref.uid)
        if not absent and not waiting:
            return
        dependents = bool(self.graph.dependents(item.uid))
        verdict = judge(item, frozenset(absent), frozenset(waiting), dependents)
        if verdict.policy:
            await self._delete(item, verdict.policy)
        elif verdict.drop:
            await self._drop_references(item, set(verdict.drop))

    async def _is_absent(self, item: Item, ref: OwnerReference) -> bool:
        """A live look: our caches of different kinds are not of one moment."""
        resource = self.kinds.find(ref.api_version, ref.kind)
        if resource is None:
            return False  # a kind that we do not know may well exist
        namespace = item.namespace if resource.namespaced else ""
        try:
            owner = await self.client.get(ApiObject, ref.name, namespace, resource)
        except NotFound:
            return True
        return owner.metadata.uid != ref.uid

    async def _delete(self, item: Item, policy: str) -> None:
        log.info("collecting", kind=item.resource.kind, object=f"{item.namespace}/{item.name}")
        try:
            await self.client.delete(
                ApiObject, item.name, item.namespace, uid=item.uid, propagation_policy=policy,
                resource=item.resource,
            )  # fmt: skip
        except NotFound:
            self._gone(item.uid)

    async def _orphan(self, item: Item) -> None:
        dependents = self.graph.dependents(item.uid)
        await self.all_of(self._drop_references(d, {item.uid}) for d in dependents)
        await self._remove_finalizer(item, ORPHAN)

    async def _release_if_alone(self, item: Item) -> None:
        blocking = self.graph.blocking_dependents(item.uid)
        if not blocking:
            await self._remove_finalizer(item, FOREGROUND)
        for dependent in blocking:
            if not dependent.deleting:
                self.queue.add(dependent.uid)

    async def _drop_references(self, item: Item, owners: set[str]) -> None:
        try:
            live = await self._live(item)
        except NotFound:
            return
        refs = tuple(ref for ref in live.metadata.owner_references if ref.uid not in owners)
        if refs != live.metadata.owner_references:
            await self._patch_meta(item, live, "ownerReferences", refs)

    async def _remove_finalizer(self, item: Item, finalizer: str) -> None:
        try:
            live = await self._live(item)
        except NotFound:
            return
        left = tuple(name for name in live.metadata.finalizers if name != finalizer)
        if left != live.metadata.finalizers:
            await self._patch_meta(item, live, "finalizers", left)

    async def _live(self, item: Item) -> ApiObject:
        live = await self.client.get(ApiObject, item.name, item.namespace, item.resource)
        if live.metadata.uid != item.uid:
            raise NotFound(f'"{item.namespace}/{item.name}" is another object by now')
        return live

    async def _patch_meta(self, item: Item, live: ApiObject, field: str, value: Any) -> None:
        """Write one field of exactly the object that was read."""
        seen = live.metadata
        patch = {
            "metadata": {
                "uid": seen.uid,
                "resourceVersion": seen.resource_version,
                field: msgspec.to_builtins(value),
            }
        }
        with suppress(NotFound):
            await self.client.patch(
                ApiObject, item.name, patch, item.namespace, resource=item.resource
            )
