"""May this user do that? Built-in rules first, then the node rules."""

from __future__ import annotations

from collections.abc import Iterator

from master.apiserver.auth.identity import User
from master.apiserver.auth.node import node_allows
from master.apiserver.auth.rules import GROUP_RULES, USER_RULES, Attributes, PolicyRule
from master.apiserver.cache.cacher import Cacher
from master.apiserver.cache.entry import Selection
from muster.api import scheme
from muster.api.core import Pod
from muster.api.errors import Forbidden
from muster.api.meta import StatusDetails
from muster.api.scheme import resource_for
from muster.api.selectors import FieldRequirement


class Authorizer:
    def __init__(self, cacher: Cacher) -> None:
        self._cacher = cacher

    def allows(self, user: User, asked: Attributes) -> bool:
        if any(rule.allows(asked) for rule in rules_of(user)):
            return True
        node = user.node_name
        return bool(node) and node_allows(node, asked, self._pods_of)

    def check(self, user: User, asked: Attributes) -> None:
        """Raises Forbidden with upstream's text."""
        if not self.allows(user, asked):
            raise Forbidden(
                _text(user, asked),
                StatusDetails(name=asked.name, group=asked.group, kind=asked.resource),
            )

    def _pods_of(self, node: str, namespace: str) -> Iterator[Pod]:
        bound = Selection(namespace, fields=(FieldRequirement("spec.nodeName", node, False),))
        for entry in self._cacher[resource_for(Pod)].select(bound):
            yield scheme.decode(Pod, entry.stored)


def rules_of(user: User) -> Iterator[PolicyRule]:
    yield from USER_RULES.get(user.name, ())
    for group in user.groups:
        yield from GROUP_RULES.get(group, ())


def _text(user: User, asked: Attributes) -> str:
    if asked.path:
        return f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"'
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    shown = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    subject = f'{shown} "{asked.name}"' if asked.name else shown
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    return (
        f'{subject} is forbidden: User "{user.name}" cannot {asked.verb} resource "{resource}" '
        f'in API group "{asked.group}" {where}'
    )
