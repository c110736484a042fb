"""NamespaceLifecycle: nothing is made in a missing or dying namespace, and the namespaces that
the cluster stands on stay. Pure."""

from __future__ import annotations

import msgspec

from kube.api.core import Namespace
from kube.machinery.errors import not_found
from master.apiserver.admission.attributes import Attributes, Plugin, World, forbidden

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


async def admit(asked: Attributes, world: World) -> msgspec.Struct | None:
    if asked.resource.type is Namespace:
        if asked.operation == "DELETE" and asked.name in IMMORTAL:
            raise forbidden(asked, "this namespace may not be deleted")
    elif asked.operation == "CREATE" and asked.resource.namespaced and not asked.subresource:
        await _check_alive(asked, world)
    return asked.new


async def _check_alive(asked: Attributes, world: World) -> None:
    name = asked.namespace
    found = world.lookup(Namespace, "", name)
    if found is None or found.metadata.deletion_timestamp:
        # What this server knows may be behind.
        found = await world.fetch(Namespace, "", name)
    if found is None:
        raise not_found("namespaces", "", name)
    if found.metadata.deletion_timestamp:
        raise forbidden(
            asked,
            f"unable to create new content in namespace {name} because it is being terminated",
        )


PLUGIN = Plugin(name="NamespaceLifecycle", admit=admit)
