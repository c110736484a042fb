"""Secrets. Pure."""

from __future__ import annotations

import base64
from datetime import datetime

from msgspec.structs import replace

from kube.api.core import Secret
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.core.datamap import (
    IMMUTABLE_TEXT,
    validate_base64,
    validate_keys,
    validate_size,
)
from master.apiserver.kinds.fields import Fields, Part
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation import field


def default(obj: Secret) -> Secret:
    """stringData is a write-only way to give data in clear."""
    given = {k: base64.b64encode(v.encode()).decode() for k, v in obj.string_data.items()}
    return replace(obj, data={**obj.data, **given}, string_data={}, type=obj.type or "Opaque")


def validate(obj: Secret) -> Causes:
    return (
        validate_keys(obj.data, "data")
        + validate_base64(obj.data, "data")
        + validate_size(obj.data)
    )


def validate_update(new: Secret, old: Secret) -> Causes:
    causes: Causes = []
    if new.type != old.type:
        causes.append(field.invalid("type", new.type, "field is immutable"))
    if old.immutable and not new.immutable:
        causes.append(field.forbidden("immutable", IMMUTABLE_TEXT))
    if old.immutable and new.data != old.data:
        causes.append(field.forbidden("data", IMMUTABLE_TEXT))
    return causes


class _Secret(Part, rename="camel", frozen=True):
    type: str = ""


def selectable(secret: _Secret) -> dict[str, str]:
    return {"type": secret.type}


def cells(obj: Secret, now: datetime) -> Cells:
    return [obj.metadata.name, obj.type, len(obj.data), age(obj.metadata.creation_timestamp, now)]


KIND = Kind(
    resource=resource_for(Secret),
    columns=columns("Name Type Data# Age"),
    cells=cells,
    fields=Fields(_Secret, selectable),
    default=default,
    validate=validate,
    validate_update=validate_update,
)
