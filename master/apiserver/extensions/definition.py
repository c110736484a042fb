"""A CustomResourceDefinition to the kinds that it declares, one a version. Pure.

The kind of a custom resource is declared as any other, by functions; they are made of what the
definition says: columns of JSONPaths, defaults and validation of its schema.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace

from kube.api.apiextensions import (
    CustomResourceColumnDefinition,
    CustomResourceDefinition,
    CustomResourceDefinitionVersion,
    CustomResourceSubresourceScale,
)
from kube.api.autoscaling import Scale
from kube.api.object import OpenObject
from kube.machinery.jsonpath import JsonPath
from kube.machinery.schema import Schema
from kube.machinery.scheme import Resource
from master.apiserver.decoding.codec import OpenCodec
from master.apiserver.extensions.defaulting import Fill, filler_of
from master.apiserver.extensions.structure import structure_of
from master.apiserver.extensions.values import problems
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cell, Cells, Column
from master.apiserver.kinds.fields import Fields, MetaPart
from master.apiserver.kinds.kind import AnyKind, Causes, Conversion, Kind
from master.apiserver.kinds.parts.scale import SCALE, scale_for, scaled_metadata
from master.apiserver.kinds.parts.subresource import STATUS, Subresource
from master.apiserver.registry.validation.metadata import dns_subdomain

Json = Any
Props = dict[str, Json]
TERMINATING = "create not allowed while custom resource definition is terminating"
# Who sends ten thousand wrong values need not hear of each.
_MAX_TOLD = 100
_NOT_CONTENT = ("apiVersion", "kind", "metadata")
_NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
_AGE = CustomResourceColumnDefinition(
    name="Age",
    type="date",
    json_path=".metadata.creationTimestamp",
    description="Time since the object was created.",
)


def kinds_of(crd: CustomResourceDefinition) -> tuple[AnyKind, ...]:
    """The kinds of all versions that are served."""
    versions = crd.spec.versions
    stored = next(_kind(crd, version, None) for version in versions if version.storage)
    made = []
    for version in versions:
        if version.served:
            made.append(stored if version.storage else _kind(crd, version, stored))
    return tuple(made)


class _Model:
    """A version's schema. It is kept as text until somebody needs it: in pieces it takes eight
    times the memory, and of many definitions that are installed few have objects."""

    def __init__(self, version: CustomResourceDefinitionVersion) -> None:
        given = version.schema.open_apiv3_schema if version.schema else None
        self._text = zlib.compress(msgspec.json.encode(given) if given else b"{}", 1)

    def props(self) -> Props:
        found: Props = msgspec.json.decode(zlib.decompress(self._text))
        return found

    def schema(self) -> Schema:
        props = self.props()
        made = structure_of(props)
        return Schema(
            "struct" if made.kind == "open" else made.kind,
            preserves=made.preserves or made.kind == "open",
            _fields=made.fields,
        )

    @cached_property
    def _fill(self) -> Fill | None:
        return filler_of(self.props())

    def default(self, obj: OpenObject) -> OpenObject:
        filled = self._fill(obj.content) if self._fill else obj.content
        return obj if filled is obj.content else replace(obj, content=filled)

    @cached_property
    def _judged(self) -> Props:
        """What is said about anything but apiVersion, kind and metadata."""
        props = self.props()
        required = [name for name in props.get("required", ()) if name not in _NOT_CONTENT]
        return {**props, "required": required}

    def validate(self, obj: OpenObject) -> Causes:
        return list(islice(problems(obj.content, self._judged, ""), _MAX_TOLD))


def _kind(
    crd: CustomResourceDefinition, version: CustomResourceDefinitionVersion, stored: AnyKind | None
) -> AnyKind:
    spec, names = crd.spec, crd.spec.names
    assert names is not None  # validation
    resource = Resource(
        spec.group,
        version.name,
        names.kind,
        names.plural,
        OpenObject,
        names.singular or names.kind.lower(),
        spec.scope == "Namespaced",
        names.short_names,
        names.categories,
    )
    model = _Model(version)
    parts = version.subresources
    has_status = bool(parts and parts.status is not None)
    columns = version.additional_printer_columns or (_AGE,)
    return Kind(
        resource=resource,
        codec=OpenCodec(resource, model.schema, model.props),
        conversion=_renamed(resource, stored) if stored else None,
        stored_under=f"{spec.group}/{names.plural}",
        columns=(_NAME, *(_column(column) for column in columns)),
        cells=_cells(columns),
        fields=_fields(version),
        default=model.default,
        on_create=_without_status if has_status else _as_it_is,
        on_update=_keep_status if has_status else _as_wanted,
        on_status=_only_status,
        check_name=dns_subdomain,
        validate=model.validate,
        counted=_counted,
        subresources=_subresources(parts.scale if parts else None, has_status),
        closed=TERMINATING if crd.metadata.deletion_timestamp else "",
    )


def _renamed(resource: Resource, stored: AnyKind) -> Conversion[OpenObject]:
    """The strategy None: versions differ in their names only."""
    own, other = resource.api_version, stored.resource.api_version
    return Conversion(
        kind=stored,
        to_stored=lambda obj: replace(obj, api_version=other),
        from_stored=lambda obj: replace(obj, api_version=own),
    )


# what an endpoint may change


def _as_it_is(obj: OpenObject) -> OpenObject:
    return obj


def _as_wanted(new: OpenObject, _: OpenObject) -> OpenObject:
    return new


def _without_status(obj: OpenObject) -> OpenObject:
    return replace(obj, content={k: v for k, v in obj.content.items() if k != "status"})


def _keep_status(new: OpenObject, old: OpenObject) -> OpenObject:
    content = {k: v for k, v in new.content.items() if k != "status"}
    if "status" in old.content:
        content["status"] = old.content["status"]
    return replace(new, content=content)


def _only_status(new: OpenObject, old: OpenObject) -> OpenObject:
    """Nothing but the status, and who owns its fields; no labels either."""
    content = {k: v for k, v in old.content.items() if k != "status"}
    if "status" in new.content:
        content["status"] = new.content["status"]
    meta = replace(old.metadata, managed_fields=new.metadata.managed_fields)
    return replace(old, metadata=replace(meta, resource_version=""), content=content)


def _counted(obj: OpenObject) -> Json:
    return {k: v for k, v in obj.content.items() if k != "status"}


# what kubectl shows, and selects by


def _column(column: CustomResourceColumnDefinition) -> Column:
    path = column.json_path
    known = "Custom resource definition column (in JSONPath format): "
    description = column.description or known + path
    return Column(column.name, column.type, column.priority or 0, column.format, description)


def _cells(
    columns: tuple[CustomResourceColumnDefinition, ...],
) -> Callable[[OpenObject, datetime], Cells]:
    paths = [(JsonPath(column.json_path), column.type) for column in columns]

    def cells(obj: OpenObject, now: datetime) -> Cells:
        value = _plain(obj)
        return [obj.metadata.name, *(_cell(path.find(value), type_, now) for path, type_ in paths)]

    return cells


def _cell(found: list[Json], type_: str, now: datetime) -> Cell:
    """The first value, as upstream's table converter shows it; nothing for one of another type."""
    if not found or found[0] is None:
        return None
    value = found[0]
    match type_:
        case "date":
            return age(value, now) if isinstance(value, str) else None
        case "integer":
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        case "number" | "boolean":
            return value if isinstance(value, int | float) else None  # type: ignore[return-value]
        case "string" if isinstance(value, str):
            return value
    return msgspec.json.encode(value if len(found) == 1 else found).decode()


def _plain(obj: OpenObject) -> Json:
    metadata = msgspec.to_builtins(obj.metadata)
    return {**obj.content, "apiVersion": obj.api_version, "kind": obj.kind, "metadata": metadata}


class _Seen(msgspec.Struct):
    metadata: MetaPart
    values: dict[str, str]


class _PathFields(Fields):
    """Fields that JSONPaths lead to: the whole object is read for them."""

    def __init__(self, paths: Mapping[str, JsonPath]) -> None:
        super().__init__(values=lambda seen: seen.values)
        self._paths = paths
        self.decode = self._decode

    def _decode(self, data: bytes) -> Any:
        value = msgspec.json.decode(data)
        metadata = msgspec.convert(value.get("metadata", {}), MetaPart)
        values = {name: _text(path.first(value)) for name, path in self._paths.items()}
        return _Seen(metadata, values)


def _fields(version: CustomResourceDefinitionVersion) -> Fields:
    paths = {
        f.json_path.removeprefix("."): JsonPath(f.json_path) for f in version.selectable_fields
    }
    return _PathFields(paths) if paths else Fields()


def _text(value: Json) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# subresources


def _subresources(
    scale: CustomResourceSubresourceScale | None, has_status: bool
) -> tuple[Subresource, ...]:
    parts = (STATUS,) if has_status else ()
    return (*parts, _scale(scale)) if scale else parts


def _scale(paths: CustomResourceSubresourceScale) -> Subresource:
    wanted, present = JsonPath(paths.spec_replicas_path), JsonPath(paths.status_replicas_path)
    selector = JsonPath(paths.label_selector_path) if paths.label_selector_path else None
    steps = paths.spec_replicas_path.removeprefix(".").split(".")

    def read(obj: OpenObject) -> Scale:
        value = obj.content
        text = _text(selector.first(value)) if selector else ""
        replicas = _number(wanted.first(value))
        return scale_for(obj.metadata, replicas, _number(present.first(value)), text)

    def edit(obj: OpenObject, scale: Scale, _: str) -> OpenObject:
        meta = scaled_metadata(obj.metadata, scale)
        content = _with(obj.content, steps, scale.spec.replicas or 0)
        return replace(obj, metadata=meta, content=content)

    return dataclasses.replace(SCALE, read=read, edit=edit)


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _with(value: Json, steps: list[str], replicas: int) -> Json:
    """A copy with the value at the end of simple steps; objects on the way are made."""
    first, *rest = steps
    below = value.get(first) if isinstance(value, dict) else None
    changed = _with(below if isinstance(below, dict) else {}, rest, replicas) if rest else replicas
    return {**value, first: changed}
