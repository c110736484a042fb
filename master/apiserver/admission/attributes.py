"""What an admission plug-in is asked, and how it refuses (apiserver's admission.Attributes)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from kube.api.meta import StatusDetails
from kube.machinery.errors import Forbidden, StatusError
from kube.machinery.scheme import ApiObject, Resource
from master.apiserver.authn.identity import User

Operation = Literal["CREATE", "UPDATE", "DELETE"]
# An object by kind, namespace and name as the server knows it now, or None.
Lookup = Callable[[type[ApiObject], str, str], ApiObject | None]


@dataclass(frozen=True, slots=True)
class Attributes:
    """A write. `new` is the object as the client wants it, None for a delete; `old` as it is
    stored, None for a create."""

    user: User
    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    new: msgspec.Struct | None = None
    old: ApiObject | None = None


Plugin = Callable[[Attributes, Lookup], StatusError | None]


def forbidden(asked: Attributes, why: str) -> Forbidden:
    resource = asked.resource
    shown = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    details = StatusDetails(name=asked.name, group=resource.group, kind=resource.plural)
    return Forbidden(f'{shown} "{asked.name}" is forbidden: {why}', details)
