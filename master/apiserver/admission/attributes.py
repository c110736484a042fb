"""What an admission plug-in is asked, and how it refuses (apiserver's admission.Attributes)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import msgspec

from kube.api.meta import StatusDetails
from kube.api.rbac import PolicyRule
from kube.machinery.errors import Forbidden
from kube.machinery.scheme import ApiObject, Resource
from master.apiserver.authn.identity import User
from master.apiserver.authz import rules
from master.apiserver.kinds.settings import Settings

Operation = Literal["CREATE", "UPDATE", "DELETE"]


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

    def creates(self, type_: type[ApiObject]) -> bool:
        """Whether a whole object of that type is made."""
        made = self.operation == "CREATE" and not self.subresource
        return made and isinstance(self.new, type_)

    def wanting(self, new: msgspec.Struct | None) -> Attributes:
        return replace(self, new=new)


class World(Protocol):
    """What plug-ins may look at beside the write."""

    @property
    def settings(self) -> Settings: ...

    def lookup(self, type_: type[ApiObject], namespace: str, name: str) -> ApiObject | None:
        """The object as this server knows it now, which may be a little behind."""

    def all(
        self, type_: type[ApiObject], namespace: str = "", containing: bytes = b""
    ) -> Iterable[ApiObject]:
        """The objects of a type (in a namespace) as this server knows them now. Those whose JSON
        does not contain the text are not decoded."""

    def allows(self, user: User, asked: rules.Attributes) -> bool:
        """Whether somebody may do something else than this write."""

    def rules_of(self, user: User, namespace: str) -> Iterable[PolicyRule]:
        """What somebody may do in a namespace."""

    async def fetch(self, type_: type[ApiObject], namespace: str, name: str) -> ApiObject | None:
        """The object as the store has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One file declares one plug-in; `chain.py` lists them. Both functions raise a StatusError
    to refuse the write."""

    name: str
    # Before validation: the object as it is to be, which may differ from what the client sent.
    admit: Callable[[Attributes, World], Awaitable[msgspec.Struct | None]] | None = None
    # After validation, of the object as it will be stored.
    validate: Callable[[Attributes, World], Awaitable[None]] | None = None


def forbidden(asked: Attributes, why: str) -> Forbidden:
    resource = asked.resource
    shown = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
    details = StatusDetails(name=asked.name, group=resource.group, kind=resource.plural)
    return Forbidden(f'{shown} "{asked.name}" is forbidden: {why}', details)
