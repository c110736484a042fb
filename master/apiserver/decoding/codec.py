"""How the JSON of one kind of object becomes an object, and back: two codecs.

Of a published kind everything is typed. Of a kind that came at run time only metadata is; the
rest stays plain JSON, and what is known of it is in the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, cached_property
from typing import Any, Protocol

import msgspec

from kube.api.meta import ObjectMeta
from kube.api.object import ApiObject, OpenObject
from kube.machinery import scheme
from kube.machinery.schema import Field, Schema, StructType, schema_of
from kube.machinery.scheme import Resource
from master.apiserver.decoding import limits
from master.apiserver.decoding.jsontext import decode_json
from master.apiserver.decoding.typed import cleaned_value, decode_fast, refused, to_typed

_encoder = msgspec.json.Encoder()
Json = Any
Published = Callable[[], Mapping[str, Any]]


class Codec(Protocol):
    """`what` names the kind in errors; those are BadRequest."""

    @property
    def kind(self) -> str: ...

    @property
    def api_version(self) -> str: ...

    @property
    def schema(self) -> Schema: ...

    @property
    def published(self) -> Published | None:
        """The OpenAPI of a kind that no type describes, as its author wrote it."""

    def typed(self, value: Json, what: str) -> Any:
        """The object of a request's plain JSON."""

    def fast(self, body: bytes, what: str) -> Any:
        """The same for JSON bytes of our own components, which is canonical nearly always."""

    def decode(self, data: bytes) -> Any:
        """The object of JSON that the server wrote itself."""

    def rest(self, obj: Any) -> bytes:
        """JSON of all but apiVersion, kind and metadata."""


class StructCodec:
    """Of a type of kube.api."""

    published = None

    def __init__(self, type_: StructType) -> None:
        made = type_()
        self.type = type_
        self.kind: str = getattr(made, "kind", "") or type_.__name__
        self.api_version: str = getattr(made, "api_version", "")
        # What the head holds: `omit_defaults` leaves out only those very objects.
        self._head = {
            name: getattr(made, name)
            for name in ("metadata", "api_version", "kind")
            if hasattr(made, name)
        }

    @property
    def schema(self) -> Schema:
        return schema_of(self.type)

    def typed(self, value: Json, what: str) -> msgspec.Struct:
        return to_typed(self.type, value, what)

    def fast(self, body: bytes, what: str) -> msgspec.Struct:
        return decode_fast(self.type, body, what)

    def decode(self, data: bytes) -> Any:
        return scheme.decode(self.type, data)  # type: ignore[type-var] # only kinds are decoded

    def rest(self, obj: msgspec.Struct) -> bytes:
        return _encoder.encode(msgspec.structs.replace(obj, **self._head))


@cache
def codec_of(type_: StructType) -> StructCodec:
    return StructCodec(type_)


class OpenCodec:
    """Of a kind that only its row and a schema describe. The schema is made when it is first
    asked for: of many definitions that are installed, few have objects."""

    def __init__(
        self, resource: Resource, schema: Callable[[], Schema], published: Published = dict
    ) -> None:
        self.published = published
        self.kind = resource.kind
        self.api_version = resource.api_version
        self._schema = schema

    @cached_property
    def schema(self) -> Schema:
        schema = self._schema()
        own = dict(schema.fields)
        own["metadata"] = Field("metadata", "metadata", schema_of(ObjectMeta), ObjectMeta)
        for name in ("apiVersion", "kind"):
            own[name] = Field(name, name, Schema("scalar", format="string"), str)
        return replace(schema, _fields=own)

    def typed(self, value: Json, what: str) -> OpenObject:
        try:
            made = scheme.opened(cleaned_value(value, self.schema))
        except (msgspec.ValidationError, ValueError, RecursionError) as error:
            raise refused(what, self.kind, str(error)) from error
        version, kind = made.api_version or self.api_version, made.kind or self.kind
        return msgspec.structs.replace(made, api_version=version, kind=kind)

    def fast(self, body: bytes, what: str) -> OpenObject:
        limits.check_json(body)
        return self.typed(decode_json(body), what)

    def decode(self, data: bytes) -> OpenObject:
        made = scheme.decode(OpenObject, data)
        # It may have been stored in another version.
        return msgspec.structs.replace(made, api_version=self.api_version, kind=self.kind)

    def rest(self, obj: ApiObject) -> bytes:
        assert isinstance(obj, OpenObject)
        return _encoder.encode(obj.content)
