"""May this user do that? Roles and bindings first, then the node rules, over the watch cache."""

from __future__ import annotations

from collections.abc import Iterator

from kube.api.core import Pod
from kube.api.meta import StatusDetails
from kube.api.rbac import PolicyRule
from kube.machinery import scheme
from kube.machinery.errors import Forbidden, ServiceUnavailable
from kube.machinery.selectors import FieldRequirement
from master.apiserver.authn.identity import MASTERS, User
from master.apiserver.authz.node import ALLOW, NO_OPINION, Decision, Graph, authorize_node
from master.apiserver.authz.rbac import Rbac
from master.apiserver.authz.rules import Attributes
from master.apiserver.cache.cacher import Cacher
from master.apiserver.cache.entry import Selection
from master.apiserver.kinds.catalog import kind_of

EVERYTHING = (
    PolicyRule(verbs=("*",), api_groups=("*",), resources=("*",)),
    PolicyRule(verbs=("*",), non_resource_urls=("*",)),
)


class Authorizer:
    """Upstream's modes Node and RBAC: the first that allows decides. The group system:masters may
    do everything, whatever the roles say."""

    def __init__(self, cacher: Cacher) -> None:
        self._cacher = cacher
        self._rbac = Rbac(cacher)
        # Whether the cluster's first roles are there: before, a refusal would say nothing.
        self.ready = False
        self._graph = Graph(self._node_of, self._pods_of)

    def decide(self, user: User, asked: Attributes) -> Decision:
        if MASTERS in user.groups:
            return ALLOW
        if grant := self._rbac.allowed(user, asked):
            return Decision(True, grant.reason)
        if user.is_node:
            return authorize_node(user.node_name, asked, self._graph)
        return NO_OPINION

    def allows(self, user: User, asked: Attributes) -> bool:
        return self.decide(user, asked).allowed

    def check(self, user: User, asked: Attributes) -> None:
        """Raises Forbidden with upstream's text; ServiceUnavailable while roles are not there."""
        decision = self.decide(user, asked)
        if not decision.allowed and not self.ready:
            raise ServiceUnavailable("the server has not read its roles yet: try again")
        if not decision.allowed:
            reason = f": {decision.reason}" if decision.reason else ""
            raise Forbidden(
                _text(user, asked) + reason,
                StatusDetails(name=asked.name, group=asked.group, kind=asked.resource),
            )

    def rules_of(self, user: User, namespace: str) -> Iterator[PolicyRule]:
        """What the user may do in a namespace, but for the node rules, which are code."""
        if MASTERS in user.groups:
            yield from EVERYTHING
        yield from self._rbac.rules_of(user, namespace)

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
