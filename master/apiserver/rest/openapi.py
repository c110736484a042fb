"""OpenAPI v3 documents, made from the API types: `kubectl explain`, validation, apply."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from aiohttp import web

from kube.api import facts
from kube.api.descriptions import Descriptions, read_descriptions
from kube.component.version import GIT_VERSION
from kube.machinery.errors import NotFound
from kube.machinery.schema import (
    OPEN,
    Field,
    Schema,
    StructType,
    place_of,
    schema_of,
    unions_of,
)
from kube.machinery.scheme import Resource
from master.apiserver.rest import openapi_v2
from master.apiserver.rest.discovery import GROUPS
from master.apiserver.rest.responses import json_response

Json = dict[str, Any]
_PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_SCHEMAS = "#/components/schemas/"
_MACHINERY = "io.k8s.apimachinery.pkg"
_TIME = {"type": "string", "format": "date-time"}
# Scalars with names of their own.
_SHARED: dict[str, tuple[str, Json]] = {
    "quantity": (
        f"{_MACHINERY}.api.resource.Quantity",
        {"oneOf": [{"type": "string"}, {"type": "number"}]},
    ),
    "intstr": (
        f"{_MACHINERY}.util.intstr.IntOrString",
        {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    ),
    "Time": (f"{_MACHINERY}.apis.meta.v1.Time", _TIME),
    "MicroTime": (f"{_MACHINERY}.apis.meta.v1.MicroTime", _TIME),
}
_SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
}


def respond(request: web.Request, segments: list[str]) -> web.Response:
    """`/openapi/v3` is the index; below it lies one document a group and version."""
    if segments == ["openapi", "v2"]:
        return openapi_v2.respond(_documents())
    if segments[:2] != ["openapi", "v3"]:
        raise NotFound("the server could not find the requested resource")
    if len(segments) == 2:
        return json_response(msgspec.json.encode(_index()))
    path = "/".join(segments[2:])
    body = _documents().get(path)
    if body is None:
        raise NotFound("the server could not find the requested resource")
    response = json_response(body)
    response.headers["ETag"] = f'"{_hash(body)}"'
    if "hash" in request.query:
        response.headers["Cache-Control"] = "public, immutable"
    return response


def _hash(body: bytes) -> str:
    return hashlib.sha512(body).hexdigest().upper()


@cache
def _documents() -> dict[str, bytes]:
    texts = read_descriptions()
    return {
        (f"apis/{group}/{version}" if group else f"api/{version}"): msgspec.json.encode(
            document(group, version, resources, texts)
        )
        for (group, version), resources in GROUPS.items()
    }


@cache
def _index() -> Json:
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(body)}"}
            for path, body in _documents().items()
        }
    }


def document(group: str, version: str, resources: list[Resource], texts: Descriptions) -> Json:
    """One group's OpenAPI document: paths with their kinds, and the schemas they refer to."""
    schemas: dict[str, Json] = dict(_SHARED.values())
    paths: Json = {}
    for resource in resources:
        root = _name(resource.type)
        for type_ in _closure(schema_of(resource.type)):
            if _name(type_) not in schemas:
                schemas[_name(type_)] = _definition(type_, texts.get(place_of(type_), {}))
        kind = {"group": group, "version": version, "kind": resource.kind}
        schemas[root] = {**schemas[root], "x-kubernetes-group-version-kind": [kind]}
        paths |= dict(_paths(resource, root, kind))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _paths(resource: Resource, root: str, kind: Json) -> Iterator[tuple[str, Json]]:
    base = f"/apis/{resource.group}" if resource.group else "/api"
    place = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{base}/{resource.version}{place}/{resource.plural}"
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{root}"}}}
    body = {"content": content}
    answer = {"responses": {"200": {"description": "OK", **body}}}
    gvk = {"x-kubernetes-group-version-kind": kind}
    parameters = [{"name": n, "in": "query", "schema": {"type": "string"}}
                  for n in ("dryRun", "fieldManager", "fieldValidation")]  # fmt: skip
    write = {**answer, **gvk, "parameters": parameters}
    patch_body = {"content": {media: {"schema": {"type": "object"}} for media in _PATCH_TYPES}}

    def action(name: str, base_: Json) -> Json:
        return {**base_, "x-kubernetes-action": name}

    yield (
        collection,
        {
            "get": action("list", {**answer, **gvk}),
            "post": action("post", {**write, "requestBody": body}),
        },
    )
    yield (
        collection + "/{name}",
        {
            "get": action("get", {**answer, **gvk}),
            "put": action("put", {**write, "requestBody": body}),
            "patch": action("patch", {**write, "requestBody": patch_body}),
            "delete": action("delete", {**answer, **gvk}),
        },
    )


def _name(type_: StructType) -> str:
    """`io.k8s.api.core.v1.Pod`, as upstream's documents name schemas."""
    module, _, name = place_of(type_).partition(".")
    return f"{facts.NAMES[module]}.{name}"


def _closure(schema: Schema) -> list[StructType]:
    """The struct types that are in it or below it."""
    seen: list[StructType] = []
    todo = [schema]
    while todo:
        current = todo.pop()
        if current.items is not None:
            todo.append(current.items)
        if current.type is None or current.type in seen:
            continue
        seen.append(current.type)
        todo += [known.schema for known in current.fields.values()]
    return seen


def _definition(type_: StructType, texts: Mapping[str, str]) -> Json:
    schema = schema_of(type_)
    made: Json = {"type": "object"}
    if text := texts.get(""):
        made["description"] = text
    made["properties"] = {
        name: _property(known, texts.get(name, "")) for name, known in schema.fields.items()
    }
    if required := [name for name, known in schema.fields.items() if known.required]:
        made["required"] = required
    if schema.atomic:
        made["x-kubernetes-map-type"] = "atomic"
    if unions := unions_of(type_):
        made["x-kubernetes-unions"] = unions
    return made


def _property(known: Field, text: str) -> Json:
    made = _value(known.schema)
    if text:
        made["description"] = text
    if known.default is not None:
        made["default"] = known.default
    if known.schema.list_type:
        made["x-kubernetes-list-type"] = known.schema.list_type
    if known.schema.keys:
        made["x-kubernetes-list-map-keys"] = list(known.schema.keys)
    if known.schema.atomic and known.schema.kind == "map":
        made["x-kubernetes-map-type"] = "atomic"
    if known.strategy:
        made["x-kubernetes-patch-strategy"] = ",".join(sorted(known.strategy))
    if known.merge_key:
        made["x-kubernetes-patch-merge-key"] = known.merge_key
    return made


def _value(schema: Schema) -> Json:
    if schema.type is not None:
        return {"allOf": [{"$ref": f"{_SCHEMAS}{_name(schema.type)}"}]}
    if schema.format in _SHARED:
        return {"allOf": [{"$ref": f"{_SCHEMAS}{_SHARED[schema.format][0]}"}]}
    if schema.kind == "list":
        return {"type": "array", "items": _value(schema.items or OPEN)}
    if schema.kind == "map":
        return {"type": "object", "additionalProperties": _value(schema.items or OPEN)}
    return dict(_SCALARS.get(schema.format, {"type": "object"}))
