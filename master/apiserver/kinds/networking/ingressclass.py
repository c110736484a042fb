"""IngressClasses. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.networking import IngressClass
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import NONE, age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, spec_of
from master.apiserver.registry.validation.ingress import (
    CLUSTER,
    validate_ingress_class,
    validate_ingress_class_update,
)


def default(obj: IngressClass) -> IngressClass:
    given = obj.spec.parameters
    if given is None or given.scope:
        return obj
    return replace(obj, spec=replace(obj.spec, parameters=replace(given, scope=CLUSTER)))


def cells(obj: IngressClass, now: datetime) -> Cells:
    shown, given = NONE, obj.spec.parameters
    if given:
        kind = f"{given.kind}.{given.api_group}" if given.api_group else given.kind
        shown = f"{kind}/{given.name}"
    return [
        obj.metadata.name,
        obj.spec.controller,
        shown,
        age(obj.metadata.creation_timestamp, now),
    ]


KIND = Kind(
    resource=resource_for(IngressClass),
    columns=columns("Name Controller Parameters Age"),
    cells=cells,
    default=default,
    validate=validate_ingress_class,
    validate_update=validate_ingress_class_update,
    counted=spec_of,
)
