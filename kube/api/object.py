"""What every kind of the API has."""

from __future__ import annotations

from msgspec import Struct

from kube.api.base import OPTIONS
from kube.api.meta import ObjectMeta


class ApiObject(Struct, rename="camel", **OPTIONS):
    """An object of any kind, and all that is read of one whose kind does not matter: decoding
    leaves the rest out, which is several times faster than decoding the whole object."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
