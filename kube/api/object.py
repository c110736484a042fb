"""What every kind of the API has."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kube.api.base import OPTIONS
from kube.api.meta import ObjectMeta


class ApiObject(Struct, rename="camel", **OPTIONS):
    """An object of any kind, and all that is read of one whose kind does not matter: decoding
    leaves the rest out, which is several times faster than decoding the whole object."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()


class OpenObject(ApiObject, rename="camel", **OPTIONS):
    """An object of a kind that no struct describes, such as a custom resource: its metadata is
    typed, the rest is kept as it came. On the wire `content` is not a field of its own."""

    content: dict[str, Any] = {}
