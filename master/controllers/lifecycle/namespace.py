"""The namespace controller: empties a namespace that is going, then lets it go."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from kube.api.core import Namespace, NamespaceCondition
from kube.machinery.errors import NotFound, StatusError
from kube.machinery.scheme import ApiObject, Resource
from kube.machinery.times import format_time
from master.controllers.machinery.controller import Context, Controller

FINALIZER = "kubernetes"
# How soon to look again while pods take their grace.
RECHECK_SECONDS = 0.5


def conditions(
    old: Sequence[NamespaceCondition],
    remaining: Mapping[str, int],
    finalizers: Mapping[str, int],
    failure: str,
    now: datetime,
) -> tuple[NamespaceCondition, ...]:
    """What `kubectl describe namespace` shows while it is going. Pure.

    `remaining` counts objects by resource ("pods."), `finalizers` by finalizer.
    """
    left = ", ".join(f"{name} has {n} resource instances" for name, n in sorted(remaining.items()))
    held = ", ".join(f"{name} in {n} resource instances" for name, n in sorted(finalizers.items()))
    wanted = [
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered",
         "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", False, "ParsedGroupVersions",
         "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", bool(failure),
         "ContentDeletionFailed" if failure else "ContentDeleted",
         failure or "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", bool(left),
         "SomeResourcesRemain" if left else "ContentRemoved",
         f"Some resources are remaining: {left}" if left
         else "All content successfully removed"),
        ("NamespaceFinalizersRemaining", bool(held),
         "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
         f"Some content in the namespace has finalizers remaining: {held}" if held
         else "All content-preserving finalizers finished"),
    ]  # fmt: skip
    known = {condition.type: condition for condition in old}
    return tuple(_condition(known.get(item[0]), *item, now) for item in wanted)


def _condition(
    old: NamespaceCondition | None,
    type_: str,
    state: bool,
    reason: str,
    message: str,
    now: datetime,
) -> NamespaceCondition:
    status = str(state)
    kept = old is not None and old.status == status
    stamp = old.last_transition_time if old is not None and kept else format_time(now)
    return NamespaceCondition(
        type=type_, status=status, reason=reason, message=message, last_transition_time=stamp
    )


class NamespaceController(Controller):
    name = "namespace"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.namespaces = self.watch(Namespace, when=_is_going)

    async def reconcile(self, key: str) -> None:
        namespace = self.namespaces.get(key)
        if namespace is None or not namespace.metadata.deletion_timestamp:
            return
        if FINALIZER not in namespace.spec.finalizers:
            return
        remaining, finalizers, failure = await self._empty(key)
        if remaining or failure:
            await self._report(namespace, remaining, finalizers, failure)
            self.queue.add_after(key, RECHECK_SECONDS)
            return
        await self._finalize(namespace)

    async def _empty(self, name: str) -> tuple[Counter[str], Counter[str], str]:
        """Ask for the deletion of everything. Returns what is still there and a failure."""
        remaining: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        failure = ""
        await self.kinds.wait_known()
        for resource in self.kinds.stored:
            if not resource.namespaced:
                continue
            try:
                left = await self._empty_of(resource, name)
            except StatusError as error:
                failure = f"Failed to delete all resource types: {error.message}"
                continue
            if left:
                remaining[f"{resource.plural}.{resource.group}"] = len(left)
                finalizers.update(f for obj in left for f in obj.metadata.finalizers)
        return remaining, finalizers, failure

    async def _empty_of(self, resource: Resource, namespace: str) -> Sequence[ApiObject]:
        found = (await self.client.list(ApiObject, namespace, resource=resource)).items

        async def delete(obj: ApiObject) -> None:
            if obj.metadata.deletion_timestamp:
                return
            with contextlib.suppress(NotFound):
                await self.client.delete(
                    ApiObject, obj.metadata.name, namespace, uid=obj.metadata.uid,
                    propagation_policy="Background", resource=resource,
                )  # fmt: skip

        await self.all_of(delete(obj) for obj in found)
        if not found:
            return ()
        return (await self.client.list(ApiObject, namespace, resource=resource)).items

    async def _report(
        self,
        namespace: Namespace,
        remaining: Mapping[str, int],
        finalizers: Mapping[str, int],
        failure: str,
    ) -> None:
        old = namespace.status
        new = conditions(old.conditions, remaining, finalizers, failure, self.now())
        status = msgspec.structs.replace(old, phase="Terminating", conditions=new)
        if status != old:
            await self.client.update_status(msgspec.structs.replace(namespace, status=status))

    async def _finalize(self, namespace: Namespace) -> None:
        live = await self.client.get(Namespace, namespace.metadata.name)
        left = tuple(name for name in live.spec.finalizers if name != FINALIZER)
        spec = msgspec.structs.replace(live.spec, finalizers=left)
        try:
            await self.client.finalize_namespace(msgspec.structs.replace(live, spec=spec))
        except NotFound:
            return


def _is_going(old: Namespace | None, new: Namespace | None) -> bool:
    return new is not None and bool(new.metadata.deletion_timestamp)
