"""RuntimeClasses (pkg/apis/node/validation). Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.node import RuntimeClass
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import dns_label, validate_labels
from master.apiserver.registry.validation.quantities import (
    CONTAINER,
    validate_amount_of,
    validate_resource_name,
)
from master.apiserver.registry.validation.scheduling import validate_tolerations
from master.apiserver.registry.validation.template import unchanged


def validate(obj: RuntimeClass) -> Causes:
    causes: Causes = []
    if why := dns_label(obj.handler):
        causes.append(field.invalid("handler", obj.handler, why))
    for name, value in (obj.overhead.pod_fixed if obj.overhead else {}).items():
        path = f"overhead.podFixed[{name}]"
        causes += validate_resource_name(name, path, CONTAINER)
        causes += validate_amount_of(name, path, value)
    if obj.scheduling:
        causes += validate_labels(obj.scheduling.node_selector, "scheduling.nodeSelector")
        causes += validate_tolerations(obj.scheduling.tolerations, "scheduling.tolerations")
    return causes


def validate_update(new: RuntimeClass, old: RuntimeClass) -> Causes:
    return unchanged("handler", new.handler, old.handler)


def cells(obj: RuntimeClass, now: datetime) -> Cells:
    return [obj.metadata.name, obj.handler, age(obj.metadata.creation_timestamp, now)]


KIND = Kind(
    resource=resource_for(RuntimeClass),
    columns=columns("Name Handler Age"),
    cells=cells,
    validate=validate,
    validate_update=validate_update,
)
