"""The verbs' options, as both front ends (REST, gRPC) hand them to the registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kube.api.meta import DeleteOptions
from kube.machinery.scheme import Resource

# A request's body, read and parsed when it is called: after the request was authorized.
ObjectBody = Callable[[], Awaitable[msgspec.Struct]]
PatchBody = Callable[[], Awaitable[Any]]
DeleteBody = Callable[[], Awaitable[DeleteOptions]]


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `name` is empty for a collection."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


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
