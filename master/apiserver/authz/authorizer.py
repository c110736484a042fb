"""May this user do that? Built-in rules first, then the node rules, over the watch cache."""

from __future__ import annotations

from collections.abc import Iterator

from kube.api.core import Pod
from kube.api.meta import StatusDetails
from kube.machinery import scheme
from kube.machinery.errors import Forbidden
from kube.machinery.selectors import FieldRequirement
from master.apiserver.authn.identity import User
from master.apiserver.authz.node import ALLOW, NO_OPINION, Decision, Graph, authorize_node
from master.apiserver.authz.rules import GROUP_RULES, USER_RULES, Attributes, PolicyRule
from master.apiserver.cache.cacher import Cacher
from master.apiserver.cache.entry import Selection
from master.apiserver.kinds.catalog import kind_of


class Authorizer:
    """Upstream's modes Node and RBAC: the first that allows decides."""

    def __init__(self, cacher: Cacher) -> None:
        self._cacher = cacher
        self._graph = Graph(self._node_of, self._pods_of)

    def decide(self, user: User, asked: Attributes) -> Decision:
        if any(rule.allows(asked) for rule in rules_of(user)):
            return ALLOW
        if user.is_node:
            return authorize_node(user.node_name, asked, self._graph)
        return NO_OPINION

    def allows(self, user: User, asked: Attributes) -> bool:
        return self.decide(user, asked).allowed

    def check(self, user: User, asked: Attributes) -> None:
        """Raises Forbidden with upstream's text."""
        decision = self.decide(user, asked)
        if not decision.allowed:
            reason = f": {decision.reason}" if decision.reason else ""
            raise Forbidden(
                _text(user, asked) + reason,
                StatusDetails(name=asked.name, group=asked.group, kind=asked.resource),
            )

    def _node_of(self, namespace: str, name: str) -> str:
        entry = self._cacher[kind_of(Pod)].get(f"{namespace}/{name}")
        return entry.fields.get("spec.nodeName", "") if entry else ""

    def _pods_of(self, node: str, namespace: str, name: str) -> Iterator[Pod]:
        bound = Selection(namespace, fields=(FieldRequirement("spec.nodeName", node, False),))
        wanted = name.encode()
        for entry in self._cacher[kind_of(Pod)].select(bound):
            # Names need no escaping in JSON: who does not even contain it is not decoded.
            if wanted in entry.data:
                yield scheme.decode(Pod, entry.data)


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
