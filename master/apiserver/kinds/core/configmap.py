"""ConfigMaps. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.core import ConfigMap
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.core.datamap import (
    IMMUTABLE_TEXT,
    validate_base64,
    validate_keys,
    validate_size,
)
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation import field


def validate(obj: ConfigMap) -> Causes:
    causes = validate_keys(obj.data, "data") + validate_keys(obj.binary_data, "binaryData")
    causes += validate_base64(obj.binary_data, "binaryData")
    for key in obj.data.keys() & obj.binary_data.keys():
        causes.append(field.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    return causes + validate_size(obj.data, obj.binary_data)


def validate_update(new: ConfigMap, old: ConfigMap) -> Causes:
    if not old.immutable:
        return []
    causes: Causes = []
    if not new.immutable:
        causes.append(field.forbidden("immutable", IMMUTABLE_TEXT))
    if new.data != old.data:
        causes.append(field.forbidden("data", IMMUTABLE_TEXT))
    if new.binary_data != old.binary_data:
        causes.append(field.forbidden("binaryData", IMMUTABLE_TEXT))
    return causes


def cells(obj: ConfigMap, now: datetime) -> Cells:
    count = len(obj.data) + len(obj.binary_data)
    return [obj.metadata.name, count, age(obj.metadata.creation_timestamp, now)]


KIND = Kind(
    resource=resource_for(ConfigMap),
    columns=columns("Name Data# Age"),
    cells=cells,
    validate=validate,
    validate_update=validate_update,
)
