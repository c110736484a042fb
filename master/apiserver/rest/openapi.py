"""OpenAPI v3 documents, made from the API types: `kubectl explain`, validation, apply."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from kube.api import facts
from kube.api.descriptions import Descriptions, read_descriptions
from kube.api.meta import ObjectMeta
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
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.kinds.registry import Registry
from master.apiserver.registry.api import OPEN_PATCH_TYPES, PATCH_TYPES
from master.apiserver.rest import openapi_v2
from master.apiserver.rest.discovery import groups_of
from master.apiserver.rest.responses import json_response

Json = dict[str, Any]
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


@dataclass(frozen=True, slots=True)
class _Page:
    """A document, packed: between the rare clients that read it nobody needs it."""

    kinds: list[AnyKind]
    hash: str
    packed: bytes

    @property
    def body(self) -> bytes:
        return zlib.decompress(self.packed)


class OpenApi:
    """The documents of all that is served now: one a group and version, made when it is asked for
    and kept until the kinds of that group change. Others are served while they are made."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, _Page] = {}
        self._v2: tuple[int, bytes] = (-1, b"")
        self._making = asyncio.Lock()

    async def respond(self, request: web.Request, segments: list[str]) -> web.Response:
        """`/openapi/v3` is the index; below it lies one document a group and version."""
        if segments == ["openapi", "v2"]:
            return openapi_v2.response(await self._whole())
        if segments[:2] != ["openapi", "v3"]:
            raise NotFound("the server could not find the requested resource")
        pages = await self._pages()
        if len(segments) == 2:
            return json_response(msgspec.json.encode(_index(pages)))
        page = pages.get("/".join(segments[2:]))
        if page is None:
            raise NotFound("the server could not find the requested resource")
        response = json_response(page.body)
        response.headers["ETag"] = f'"{page.hash}"'
        if "hash" in request.query:
            response.headers["Cache-Control"] = "public, immutable"
        return response

    async def _pages(self) -> dict[str, _Page]:
        """Path below /openapi/v3 to document."""
        async with self._making:
            made: dict[str, _Page] = {}
            texts: Descriptions | None = None
            for group, versions in groups_of(self._registry).items():
                for version, kinds in versions.items():
                    path = f"apis/{group}/{version}" if group else f"api/{version}"
                    known = self._made.get(path)
                    if known is None or known.kinds != kinds:
                        texts = read_descriptions() if texts is None else texts
                        known = await _made(group, version, kinds, texts)
                    made[path] = known
            self._made = made
            return made

    async def _whole(self) -> bytes:
        pages = await self._pages()
        generation = self._registry.generation
        if self._v2[0] != generation:
            whole = openapi_v2.Whole()
            for page in pages.values():
                whole.add(msgspec.json.decode(page.body))
                await asyncio.sleep(0)
            self._v2 = (generation, whole.encoded())
        return self._v2[1]


async def _made(group: str, version: str, kinds: list[AnyKind], texts: Descriptions) -> _Page:
    document = Document(group, version, texts)
    for kind in kinds:
        document.add(kind)
        await asyncio.sleep(0)
    body = msgspec.json.encode(document.finished())
    digest = hashlib.sha512(body).hexdigest().upper()
    return _Page(list(kinds), digest, zlib.compress(body, 1))


def _index(pages: Mapping[str, _Page]) -> Json:
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={page.hash}"}
            for path, page in pages.items()
        }
    }


class Document:
    """One group's OpenAPI document: paths with their kinds, and the schemas they refer to."""

    def __init__(self, group: str, version: str, texts: Descriptions) -> None:
        self._group, self._version, self._texts = group, version, texts
        self._schemas: dict[str, Json] = dict(_SHARED.values())
        self._paths: Json = {}

    def add(self, kind: AnyKind) -> None:
        root, published = _name_of(kind), kind.codec.published
        self._refer_to(schema_of(ObjectMeta) if published else kind.schema)
        gvk = {"group": self._group, "version": self._version, "kind": kind.resource.kind}
        shown = _as_written(published()) if published else self._schemas[root]
        self._schemas[root] = {**shown, "x-kubernetes-group-version-kind": [gvk]}
        self._paths |= dict(_paths(kind, root, gvk))

    def _refer_to(self, schema: Schema) -> None:
        for type_ in _closure(schema):
            if _name(type_) not in self._schemas:
                texts = self._texts.get(place_of(type_), {})
                self._schemas[_name(type_)] = _definition(type_, texts)

    def finished(self) -> Json:
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": GIT_VERSION},
            "paths": self._paths,
            "components": {"schemas": self._schemas},
        }


def _paths(kind: AnyKind, root: str, named: Json) -> Iterator[tuple[str, Json]]:
    resource = kind.resource
    base = f"/apis/{resource.group}" if resource.group else "/api"
    place = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{base}/{resource.version}{place}/{resource.plural}"
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{root}"}}}
    body = {"content": content}
    answer = {"responses": {"200": {"description": "OK", **body}}}
    gvk = {"x-kubernetes-group-version-kind": named}
    parameters = [{"name": n, "in": "query", "schema": {"type": "string"}}
                  for n in ("dryRun", "fieldManager", "fieldValidation")]  # fmt: skip
    write = {**answer, **gvk, "parameters": parameters}
    # kubectl chooses by these how it applies.
    patches = OPEN_PATCH_TYPES if kind.codec.published else PATCH_TYPES
    patch_body = {"content": {media: {"schema": {"type": "object"}} for media in patches}}

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
    published = facts.NAMES.get(module)
    return f"{published}.{name}" if published else f"{type_.__module__}.{name}"


def _name_of(kind: AnyKind) -> str:
    """The same of a kind; of one without a type `com.example.stable.v1.CronTab`."""
    resource = kind.resource
    if kind.codec.published is None:
        return _name(resource.type)
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


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


def _as_written(published: Mapping[str, Any]) -> Json:
    """The schema of a custom resource as its author wrote it, with what every object has."""
    made: Json = {"type": "object", **published}
    text = {"type": "string"}
    own = {"apiVersion": text, "kind": text, "metadata": _value(schema_of(ObjectMeta))}
    if made.get("properties") or not made.get("x-kubernetes-preserve-unknown-fields"):
        made["properties"] = {**own, **made.get("properties", {}), "metadata": own["metadata"]}
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
