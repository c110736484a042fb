"""The plug-ins in upstream's order, as the hook that the registry calls on a write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec

from kube.api.meta import ObjectMeta
from kube.api.rbac import PolicyRule
from kube.machinery import scheme
from kube.machinery.scheme import ApiObject
from master.apiserver.admission import (
    certificaterequester,
    defaultingressclass,
    defaulttolerationseconds,
    limitranger,
    namespacelifecycle,
    noderestriction,
    priority,
    rbacescalation,
    runtimeclass,
    serviceaccount,
)
from master.apiserver.admission.attributes import Attributes, Operation, Plugin
from master.apiserver.authn.identity import User
from master.apiserver.authz import rules
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.cache.cacher import Cacher
from master.apiserver.cache.entry import Selection
from master.apiserver.etcd3.store import Store
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.kinds.settings import Settings
from master.apiserver.registry.options import Target
from master.apiserver.storage.codec import from_stored
from master.apiserver.storage.keys import key_of, tail_of

PLUGINS: tuple[Plugin, ...] = (
    namespacelifecycle.PLUGIN,
    limitranger.PLUGIN,
    certificaterequester.PLUGIN,
    serviceaccount.PLUGIN,
    noderestriction.PLUGIN,
    priority.PLUGIN,
    defaulttolerationseconds.PLUGIN,
    runtimeclass.PLUGIN,
    defaultingressclass.PLUGIN,
    rbacescalation.PLUGIN,
)
O = TypeVar("O", bound=msgspec.Struct)  # noqa: E741 - an object


class Admission(Protocol):
    """The hook: of the object wanted (None: delete) and the object stored (None: create)."""

    async def admit(self, new: O, old: ApiObject | None) -> O:
        """The object as the plug-ins want it. Raises StatusError."""

    async def validate(self, new: msgspec.Struct | None, old: ApiObject | None) -> None:
        """Raises StatusError for what may not be stored or deleted."""

    async def admit_delete(self, old: ApiObject) -> None:
        """Raises StatusError for what may not be deleted."""


class _Unasked:
    """Of writes that nobody has to be asked about: the server's own."""

    async def admit(self, new: O, old: ApiObject | None) -> O:
        return new

    async def validate(self, new: msgspec.Struct | None, old: ApiObject | None) -> None:
        return

    async def admit_delete(self, old: ApiObject) -> None:
        return


UNASKED: Admission = _Unasked()


class Chain:
    """The plug-ins, and what they may look at."""

    def __init__(
        self,
        store: Store,
        cacher: Cacher,
        settings: Settings,
        authorizer: Authorizer,
        plugins: Iterable[Plugin] = PLUGINS,
    ) -> None:
        self._authorizer = authorizer
        self._store = store
        self._cacher = cacher
        self.settings = settings
        self.admitting = [plugin.admit for plugin in plugins if plugin.admit]
        self.validating = [plugin.validate for plugin in plugins if plugin.validate]

    def of(self, user: User, target: Target, operation: Operation | None = None) -> Admission:
        """The hook for this user's write. Without an operation, `new` and `old` tell it."""
        return _Asked(self, user, target, operation)

    def lookup(self, type_: type[ApiObject], namespace: str, name: str) -> ApiObject | None:
        kind = kind_of(type_)
        entry = self._cacher[kind].get(tail_of(kind, namespace, name))
        return scheme.decode(type_, entry.data) if entry else None

    def all(
        self, type_: type[ApiObject], namespace: str = "", containing: bytes = b""
    ) -> Iterator[ApiObject]:
        for entry in self._cacher[kind_of(type_)].select(Selection(namespace)):
            if containing in entry.stored:
                yield scheme.decode(type_, entry.stored)

    def allows(self, user: User, asked: rules.Attributes) -> bool:
        return self._authorizer.allows(user, asked)

    def rules_of(self, user: User, namespace: str) -> Iterable[PolicyRule]:
        return self._authorizer.rules_of(user, namespace)

    async def fetch(self, type_: type[ApiObject], namespace: str, name: str) -> ApiObject | None:
        kind = kind_of(type_)
        kv, _ = await self._store.get(key_of(kind, namespace, name))
        return from_stored(kind, kv.value, kv.mod_revision) if kv else None


class _Asked:
    def __init__(
        self, chain: Chain, user: User, target: Target, operation: Operation | None
    ) -> None:
        self._chain = chain
        self._user = user
        self._target = target
        self._operation = operation

    async def admit(self, new: O, old: ApiObject | None) -> O:
        asked = self._attributes(new, old)
        for admit in self._chain.admitting:
            admitted = await admit(asked, self._chain)
            if admitted is not asked.new:
                asked = asked.wanting(admitted)
        assert isinstance(asked.new, type(new))
        return asked.new

    async def validate(self, new: msgspec.Struct | None, old: ApiObject | None) -> None:
        if not self._chain.validating:
            return
        asked = self._attributes(new, old)
        for validate in self._chain.validating:
            await validate(asked, self._chain)

    async def admit_delete(self, old: ApiObject) -> None:
        asked = self._attributes(None, old)
        for admit in self._chain.admitting:
            await admit(asked, self._chain)
        await self.validate(None, old)

    def _attributes(self, new: msgspec.Struct | None, old: ApiObject | None) -> Attributes:
        target = self._target
        name = target.name
        if not name and new is not None:  # a create: the name is in the body
            name = getattr(new, "metadata", ObjectMeta()).name
        return Attributes(
            self._user,
            self._operation or _operation(new, old),
            target.resource,
            target.subresource,
            target.namespace,
            name,
            new,
            old,
        )


def _operation(new: msgspec.Struct | None, old: ApiObject | None) -> Operation:
    if new is None:
        return "DELETE"
    return "CREATE" if old is None else "UPDATE"
