"""`/openapi/v2` in protobuf, derived from the v3 documents.

kubectl falls back to it for what v3 has no operation for (a manifest of kind List): it looks
whether the server validates fields itself, that is, takes `fieldValidation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from kube.component.version import GIT_VERSION
from kube.stubs.openapi import v2_pb2 as pb

# The "@" that kubectl asks with is no legal character of a media type; upstream answers a dot.
CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_GVK = "x-kubernetes-group-version-kind"
_METHODS = ("get", "put", "post", "delete", "patch")
Json = Mapping[str, Any]


def response(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


class Whole:
    """One v2 document with the operations of all v3 ones."""

    def __init__(self) -> None:
        self._items: list[pb.NamedPathItem] = []

    def add(self, v3: Json) -> None:
        self._items += [
            pb.NamedPathItem(name=path, value=_item(operations))
            for path, operations in v3["paths"].items()
        ]

    def encoded(self) -> bytes:
        info = pb.Info(title="Kubernetes", version=GIT_VERSION)
        made = pb.Document(swagger="2.0", info=info, paths=pb.Paths(path=self._items))
        return made.SerializeToString(deterministic=True)


def _item(operations: Json) -> pb.PathItem:
    item = pb.PathItem()
    for method in _METHODS:
        if method in operations:
            getattr(item, method).CopyFrom(_operation(operations[method]))
    return item


def _operation(v3: Json) -> pb.Operation:
    return pb.Operation(
        parameters=[_query(p["name"]) for p in v3.get("parameters", ()) if p["in"] == "query"],
        vendor_extension=[
            # JSON is YAML.
            pb.NamedAny(name=name, value=pb.Any(yaml=msgspec.json.encode(v3[name]).decode()))
            for name in (_GVK, "x-kubernetes-action")
            if name in v3
        ],
    )


def _query(name: str) -> pb.ParametersItem:
    schema = pb.QueryParameterSubSchema(name=name, type="string", **{"in": "query"})
    return pb.ParametersItem(
        parameter=pb.Parameter(
            non_body_parameter=pb.NonBodyParameter(query_parameter_sub_schema=schema)
        )
    )
