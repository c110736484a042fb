"""DefaultIngressClass: an Ingress that names no class is of the one that is everybody's. Pure."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from kube.api.networking import Ingress, IngressClass
from master.apiserver.admission.attributes import Attributes, Plugin, World

# How Ingresses named their class before there was a field.
OLD = "kubernetes.io/ingress.class"
DEFAULT = "ingressclass.kubernetes.io/is-default-class"


async def admit(asked: Attributes, world: World) -> msgspec.Struct | None:
    ingress = asked.new
    if not asked.creates(Ingress) or not isinstance(ingress, Ingress):
        return ingress
    if ingress.spec.ingress_class_name or OLD in ingress.metadata.annotations:
        return ingress
    found = [
        one.metadata
        for one in world.all(IngressClass, containing=DEFAULT.encode())
        if one.metadata.annotations.get(DEFAULT) == "true"
    ]
    if not found:
        return ingress
    # Of several the newest, then the first by name.
    newest = max(meta.creation_timestamp for meta in found)
    name = min(meta.name for meta in found if meta.creation_timestamp == newest)
    return replace(ingress, spec=replace(ingress.spec, ingress_class_name=name))


PLUGIN = Plugin(name="DefaultIngressClass", admit=admit)
