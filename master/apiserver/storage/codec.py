"""Stored values: canonical JSON with metadata first and without resourceVersion.

The resourceVersion is the revision at which the store wrote the value, so it cannot be in the
value. With `metadata` first, putting it in is one concatenation and no decoding: lists and
watches pass stored bytes through.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from kube.machinery import scheme
from kube.machinery.scheme import ApiObject, Resource

_encoder = msgspec.json.Encoder()


@cache
def _left_out(type_: type[ApiObject]) -> dict[str, Any]:
    """Defaults of what the head holds: `omit_defaults` leaves out those very objects only."""
    default = type_()
    return {
        "metadata": default.metadata,
        "api_version": default.api_version,
        "kind": default.kind,
    }


@cache
def _head(resource: Resource) -> bytes:
    kind = f'{{"apiVersion":"{resource.api_version}","kind":"{resource.kind}","metadata":{{'
    return kind.encode()


def to_stored(resource: Resource, obj: ApiObject) -> bytes:
    """The value to store. `obj` has a name, so its metadata is never empty."""
    meta = _encoder.encode(msgspec.structs.replace(obj.metadata, resource_version=""))
    body = _encoder.encode(msgspec.structs.replace(obj, **_left_out(type(obj))))
    tail = b"," + body[1:] if len(body) > 2 else b"}"
    return _head(resource) + meta[1:] + tail


def with_revision(resource: Resource, stored: bytes, revision: int) -> bytes:
    """The object's JSON as clients see it: the stored value with its resourceVersion."""
    head = _head(resource)
    if stored.startswith(head):
        return b'%s"resourceVersion":"%d",%s' % (head, revision, stored[len(head) :])
    # Written by another hand (etcdctl, a tool): bring it into our form first.
    obj = scheme.decode(resource.type, stored)
    return with_revision(resource, to_stored(resource, obj), revision)


def from_stored(resource: Resource, stored: bytes, revision: int) -> ApiObject:
    """The typed object of a stored value."""
    obj = scheme.decode(resource.type, stored)
    meta = msgspec.structs.replace(obj.metadata, resource_version=str(revision))
    return msgspec.structs.replace(obj, metadata=meta)
