"""OpenAPI v3 documents, made from the API types: `kubectl explain`, validation, apply."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from aiohttp import web

from kube.component.version import GIT_VERSION
from kube.machinery.errors import NotFound
from kube.machinery.scheme import Resource
from master.apiserver.patch.mergekeys import MERGE_KEYS
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
_INT_OR_STRING = {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}


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
    return {
        (f"apis/{group}/{version}" if group else f"api/{version}"): msgspec.json.encode(
            document(group, version, resources)
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


def document(group: str, version: str, resources: list[Resource]) -> Json:
    """One group's OpenAPI document: paths with their kinds, and the schemas they refer to."""
    schemas: dict[str, Json] = {}
    paths: Json = {}
    for resource in resources:
        root = _name(resource.type)
        for type_ in _closure(resource.type):
            schemas.setdefault(_name(type_), _schema(type_))
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
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{root}"}}}
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


def _name(type_: type[msgspec.Struct]) -> str:
    """`io.k8s.api.core.v1.Pod`, as upstream's documents name schemas."""
    module = type_.__module__.rpartition(".")[2]
    if module == "meta":
        return f"io.k8s.apimachinery.pkg.apis.meta.v1.{type_.__name__}"
    return f"io.k8s.api.{module}.v1.{type_.__name__}"


def _closure(type_: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    seen: list[type[msgspec.Struct]] = []
    todo = [type_]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.append(current)
        for hint in get_type_hints(current).values():
            todo += _structs_in(hint)
    return seen


def _structs_in(hint: Any) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [found for part in get_args(hint) for found in _structs_in(part)]


def _schema(type_: type[msgspec.Struct]) -> Json:
    hints = get_type_hints(type_)
    properties = {}
    for field in msgspec.structs.fields(type_):
        schema = _field(hints[field.name])
        merge_key = MERGE_KEYS.get((type_.__name__, field.encode_name))
        if merge_key is not None:
            schema["x-kubernetes-patch-strategy"] = "merge"
        if merge_key:
            schema["x-kubernetes-patch-merge-key"] = merge_key
            schema |= {
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": [merge_key],
            }
        properties[field.encode_name] = schema
    return {"type": "object", "properties": properties}


def _field(hint: Any) -> Json:
    origin, parts = get_origin(hint), [p for p in get_args(hint) if p is not type(None)]
    if origin in (Union, UnionType):
        if len(parts) > 1:
            return dict(_INT_OR_STRING)
        return _field(parts[0])
    if origin is tuple:
        return {"type": "array", "items": _field(parts[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _field(parts[1])}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return {"allOf": [{"$ref": f"#/components/schemas/{_name(hint)}"}]}
    names = {str: "string", int: "integer", bool: "boolean", float: "number"}
    return {"type": names[hint]} if hint in names else {"type": "object"}
