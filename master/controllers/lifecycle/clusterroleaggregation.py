"""clusterrole-aggregation: an aggregated ClusterRole has the rules of all that it selects."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kube.api.rbac import ClusterRole, PolicyRule
from kube.component.log import get_logger
from kube.machinery.selectors import from_label_selector
from master.controllers.machinery.controller import Context, Controller

log = get_logger(__name__)


class ClusterRoleAggregation(Controller):
    """Any change may concern any sum, so each change queues all of them."""

    name = "clusterrole_aggregation"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.roles = self.watch(ClusterRole, self._sums)

    def _sums(self, changed: ClusterRole) -> tuple[str, ...]:
        found = {role.metadata.name for role in self.roles.values() if role.aggregation_rule}
        if changed.aggregation_rule:
            found.add(changed.metadata.name)
        return tuple(sorted(found))

    async def reconcile(self, key: str) -> None:
        role = self.roles.get(key)
        if role is None or role.aggregation_rule is None:
            return
        rules = aggregated(role, self.roles.values())
        if rules != role.rules:
            await self.client.update(msgspec.structs.replace(role, rules=rules))
            log.info("aggregated", role=key, rules=len(rules))


def aggregated(role: ClusterRole, roles: Iterable[ClusterRole]) -> tuple[PolicyRule, ...]:
    """The rules of the roles that it selects, by their names, each rule once."""
    found: dict[PolicyRule, None] = {}
    rule = role.aggregation_rule
    selectors = [from_label_selector(s) for s in (rule.cluster_role_selectors if rule else ())]
    for other in sorted(roles, key=lambda one: one.metadata.name):
        if other.metadata.name == role.metadata.name:
            continue
        if any(selector and selector.matches(other.metadata.labels) for selector in selectors):
            found |= dict.fromkeys(other.rules)
    return tuple(found)
