"""RBACEscalation: nobody grants what they do not have themselves.

Upstream's storage of roles and bindings does this (pkg/registry/rbac, policybased).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kube.api.rbac import (
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
)
from master.apiserver.admission.attributes import Attributes as Write
from master.apiserver.admission.attributes import Plugin, World, forbidden
from master.apiserver.authn.identity import MASTERS
from master.apiserver.authz.authorizer import EVERYTHING
from master.apiserver.authz.rbac import covers
from master.apiserver.authz.rules import Attributes

GROUP = "rbac.authorization.k8s.io"


async def validate(asked: Write, world: World) -> None:
    if asked.subresource or asked.new is None or MASTERS in asked.user.groups:
        return
    match asked.new:
        case Role() | ClusterRole() as role:
            _check_role(asked, world, role)
        case RoleBinding() | ClusterRoleBinding() as binding:
            _check_binding(asked, world, binding)


def _check_role(asked: Write, world: World, role: Role | ClusterRole) -> None:
    old = asked.old
    if isinstance(role, ClusterRole) and role.aggregation_rule is not None:
        before = old.aggregation_rule if isinstance(old, ClusterRole) else None
        held = world.rules_of(asked.user, asked.namespace)
        if role.aggregation_rule != before and covers(held, EVERYTHING):
            why = "must have cluster-admin privileges to use an aggregationRule"
            raise forbidden(asked, why)
    if isinstance(old, Role | ClusterRole) and old.rules == role.rules:
        return
    if _may(asked, world, "escalate", asked.resource.plural, asked.name):
        return
    _confirm(asked, world, role.rules)


def _check_binding(asked: Write, world: World, binding: RoleBinding | ClusterRoleBinding) -> None:
    old = asked.old
    same = isinstance(old, RoleBinding | ClusterRoleBinding) and (
        (old.role_ref, old.subjects) == (binding.role_ref, binding.subjects)
    )
    ref = binding.role_ref or RoleRef()
    plural = "roles" if ref.kind == "Role" else "clusterroles"
    if same or _may(asked, world, "bind", plural, ref.name):
        return
    role: Role | ClusterRole | None
    if ref.kind == "Role":
        found = world.lookup(Role, asked.namespace, ref.name)
    else:
        found = world.lookup(ClusterRole, "", ref.name)
    role = found if isinstance(found, Role | ClusterRole) else None
    if role is None:
        raise forbidden(asked, f'{plural}.{GROUP} "{ref.name}" not found')
    _confirm(asked, world, role.rules)


def _may(asked: Write, world: World, verb: str, plural: str, name: str) -> bool:
    wanted = Attributes(verb, GROUP, plural, namespace=asked.namespace, name=name)
    return world.allows(asked.user, wanted)


def _confirm(asked: Write, world: World, rules: Iterable[PolicyRule]) -> None:
    missing = covers(world.rules_of(asked.user, asked.namespace), rules)
    if not missing:
        return
    groups = " ".join(f'"{group}"' for group in sorted(asked.user.groups))
    shown = "\n".join(sorted(_shown(rule) for rule in _compact(missing)))
    raise forbidden(
        asked,
        f'user "{asked.user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not '
        f"currently held:\n{shown}",
    )


def _compact(parts: Iterable[PolicyRule]) -> list[PolicyRule]:
    """The same, with the verbs of one thing together."""
    found: dict[PolicyRule, list[str]] = {}
    for part in parts:
        found.setdefault(msgspec.structs.replace(part, verbs=()), []).extend(part.verbs)
    return [msgspec.structs.replace(rule, verbs=tuple(verbs)) for rule, verbs in found.items()]


def _shown(rule: PolicyRule) -> str:
    """`{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`"""
    parts = [
        f"{name}:[{' '.join(msgspec.json.encode(value).decode() for value in values)}]"
        for name, values in (
            ("NonResourceURLs", rule.non_resource_urls),
            ("APIGroups", rule.api_groups),
            ("Resources", rule.resources),
            ("ResourceNames", rule.resource_names),
            ("Verbs", rule.verbs),
        )
        if values
    ]
    return "{" + ", ".join(parts) + "}"


PLUGIN = Plugin(name="RBACEscalation", validate=validate)
