"""Stored values: canonical JSON with metadata first and without resourceVersion.

The resourceVersion is the revision at which the store wrote the value, so it cannot be in the
value. With `metadata` first, putting it in is one concatenation and no decoding: lists and
watches pass stored bytes through.
"""

from __future__ import annotations

import msgspec

from kube.machinery.scheme import ApiObject
from master.apiserver.kinds.kind import AnyKind

_encoder = msgspec.json.Encoder()


def to_stored(kind: AnyKind, obj: ApiObject) -> bytes:
    """The value to store. `obj` has a name, so its metadata is never empty."""
    meta = _encoder.encode(msgspec.structs.replace(obj.metadata, resource_version=""))
    rest = kind.codec.rest(obj)
    tail = b"," + rest[1:] if len(rest) > 2 else b"}"
    return kind.head + meta[1:] + tail


def with_revision(kind: AnyKind, stored: bytes, revision: int) -> bytes:
    """The object's JSON as clients see it: the stored value with its resourceVersion."""
    head = kind.head
    if stored.startswith(head):
        return b'%s"resourceVersion":"%d",%s' % (head, revision, stored[len(head) :])
    # Written by another hand (etcdctl, a tool) or in another version: bring it into our form.
    return with_revision(kind, to_stored(kind, kind.codec.decode(stored)), revision)


def without_revision(data: bytes, revision: int) -> bytes:
    """What `with_revision` was given."""
    return data.replace(b'"resourceVersion":"%d",' % revision, b"", 1)


def from_stored(kind: AnyKind, stored: bytes, revision: int) -> ApiObject:
    """The object of a stored value."""
    obj: ApiObject = kind.codec.decode(stored)
    meta = msgspec.structs.replace(obj.metadata, resource_version=str(revision))
    return msgspec.structs.replace(obj, metadata=meta)


def shown(kind: AnyKind, data: bytes) -> bytes:
    """The JSON of an object of the stored version, in the version that was asked for."""
    if kind.conversion is None:
        return data
    obj = kind.conversion.from_stored(kind.stored.codec.decode(data))
    meta = _encoder.encode(obj.metadata)
    rest = kind.codec.rest(obj)
    return kind.head + meta[1:] + (b"," + rest[1:] if len(rest) > 2 else b"}")
