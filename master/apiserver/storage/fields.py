"""What label and field selectors see of a stored object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from master.apiserver.kinds.kind import AnyKind


@dataclass(frozen=True, slots=True)
class Selectable:
    labels: Mapping[str, str]
    fields: Mapping[str, str]


def selectable(kind: AnyKind, data: bytes) -> Selectable:
    """What label and field selectors see of an object."""
    seen = kind.fields.decode(data)
    fields = {"metadata.name": seen.metadata.name}
    if kind.resource.namespaced:
        fields["metadata.namespace"] = seen.metadata.namespace
    fields |= kind.fields.values(seen)
    return Selectable(seen.metadata.labels, fields)


def supported_fields(kind: AnyKind) -> frozenset[str]:
    """The field labels that a selector may name."""
    return frozenset(selectable(kind, b"{}").fields)
