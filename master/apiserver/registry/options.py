"""The verbs' options, as both front ends (REST, gRPC) hand them to the registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from kube.api.meta import DeleteOptions
from kube.machinery.scheme import Resource
from master.apiserver.decoding.codec import Codec, codec_of
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.kinds.parts.subresource import Subresource

# A request's body, read and parsed when it is called: after the request was authorized.
ObjectBody = Callable[[], Awaitable[msgspec.Struct]]
PatchBody = Callable[[], Awaitable[Any]]
DeleteBody = Callable[[], Awaitable[DeleteOptions]]


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `name` is empty for a collection."""

    kind: AnyKind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> Resource:
        return self.kind.resource

    @property
    def part(self) -> Subresource | None:
        """The subresource that is named, if there is one of that name."""
        return self.kind.subresource(self.subresource) if self.subresource else None

    @property
    def body(self) -> Codec:
        """What requests to this (sub)resource carry."""
        part = self.part
        return codec_of(part.body) if part and part.body else self.kind.codec

    @property
    def stored(self) -> Target:
        """The same in the version that is stored."""
        return self if self.kind.conversion is None else replace(self, kind=self.kind.stored)


@dataclass(frozen=True, slots=True)
class ListOptions:
    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_: str = ""
    resource_version: str = ""
    resource_version_match: str = ""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    allow_bookmarks: bool = False
    send_initial_events: bool = False
    timeout_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class WriteOptions:
    dry_run: bool = False
    field_manager: str = ""
    force: bool = False
    # What the server writes of itself: its address is the operator's choice, loopback too.
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """A list's answer: objects as JSON bytes in key order, at one revision."""

    items: list[bytes] = field(default_factory=list)
    resource_version: str = ""
    continue_: str = ""
    remaining: int | None = None
