"""What label and field selectors see of a stored object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kube.machinery.scheme import Resource
from master.apiserver.kinds.catalog import kind_of


@dataclass(frozen=True, slots=True)
class Selectable:
    labels: Mapping[str, str]
    fields: Mapping[str, str]


def selectable(resource: Resource, data: bytes) -> Selectable:
    """What label and field selectors see of an object."""
    kind_fields = kind_of(resource).fields
    seen = kind_fields.decode(data)
    fields = {"metadata.name": seen.metadata.name}
    if resource.namespaced:
        fields["metadata.namespace"] = seen.metadata.namespace
    fields |= kind_fields.values(seen)
    return Selectable(seen.metadata.labels, fields)


def supported_fields(resource: Resource) -> frozenset[str]:
    """The field labels that a selector may name."""
    return frozenset(selectable(resource, b"{}").fields)
