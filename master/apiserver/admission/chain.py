"""The plug-ins in upstream's order, as the hook that the registry calls on a write."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from kube.api.meta import ObjectMeta
from kube.machinery import scheme
from kube.machinery.scheme import ApiObject, resource_for
from master.apiserver.admission import noderestriction, serviceaccount
from master.apiserver.admission.attributes import Attributes, Operation, Plugin
from master.apiserver.authn.identity import User
from master.apiserver.cache.cacher import Cacher
from master.apiserver.registry.options import Target

PLUGINS: tuple[Plugin, ...] = (serviceaccount.admit, noderestriction.admit)
# Of a write: the object wanted (None: delete) and the object stored (None: create). Raises.
Admit = Callable[[msgspec.Struct | None, ApiObject | None], None]


def admit_all(new: msgspec.Struct | None, old: ApiObject | None) -> None:
    """The hook of writes that nobody has to be asked about: the server's own."""


class Chain:
    def __init__(self, cacher: Cacher) -> None:
        self._cacher = cacher

    def of(self, user: User, target: Target, operation: Operation | None = None) -> Admit:
        """The hook for this user's write. Without an operation, `new` and `old` tell it."""

        def admit(new: msgspec.Struct | None, old: ApiObject | None) -> None:
            name = target.name
            if not name and new is not None:  # a create: the name is in the body
                name = getattr(new, "metadata", ObjectMeta()).name
            asked = Attributes(
                user,
                operation or _operation(new, old),
                target.resource,
                target.subresource,
                target.namespace,
                name,
                new,
                old,
            )
            for plugin in PLUGINS:
                if error := plugin(asked, self._lookup):
                    raise error

        return admit

    def _lookup(self, type_: type[ApiObject], namespace: str, name: str) -> ApiObject | None:
        resource = resource_for(type_)
        entry = self._cacher[resource].get(f"{namespace}/{name}" if resource.namespaced else name)
        return scheme.decode(resource.type, entry.stored) if entry else None


def _operation(new: msgspec.Struct | None, old: ApiObject | None) -> Operation:
    if new is None:
        return "DELETE"
    return "CREATE" if old is None else "UPDATE"
