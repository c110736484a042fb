"""Roles and bindings: what they grant, what a cluster begins with, and that nobody grants more."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec.structs import replace

from kube.api.meta import LabelSelector, ObjectMeta
from kube.api.rbac import (
    AggregationRule,
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)
from kube.machinery.errors import Forbidden
from kube.machinery.scheme import ApiObject
from master.apiserver.admission import rbacescalation
from master.apiserver.admission.attributes import Attributes as Write
from master.apiserver.admission.attributes import World
from master.apiserver.authn.identity import User, user_from_subject
from master.apiserver.authz.policy import AUTOUPDATE, bootstrap_policy, reconciled
from master.apiserver.authz.rbac import Grant, by_subject, covers
from master.apiserver.authz.rules import Attributes, allows
from master.apiserver.kinds.catalog import kind_of

GROUP = "rbac.authorization.k8s.io"
READ_PODS = PolicyRule(verbs=("get", "list"), api_groups=("",), resources=("pods",))


def keyed(*objects: Any) -> dict[type[ApiObject], dict[str, Any]]:
    found: dict[type[ApiObject], dict[str, Any]] = {
        type_: {} for type_ in (ClusterRole, ClusterRoleBinding, Role, RoleBinding)
    }
    for obj in objects:
        meta = obj.metadata
        key = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
        found[type(obj)][key] = obj
    return found


BOOTSTRAP = by_subject(keyed(*bootstrap_policy()))


def granted(user: User, asked: Attributes, subjects: Any = BOOTSTRAP) -> Grant | None:
    names = [("User", user.name), *(("Group", group) for group in sorted(user.groups))]
    grants = [grant for name in names for grant in subjects.get(name, ())]
    return next((grant for grant in grants if grant.allows(asked)), None)


def allowed(name: str, asked: Attributes, *groups: str) -> bool:
    return granted(user_from_subject(name, list(groups)), asked) is not None


def test_what_a_cluster_begins_with() -> None:
    assert allowed("any", Attributes("delete", "", "nodes"), "system:masters")
    assert allowed("any", Attributes("get", path="/metrics"), "system:monitoring")
    assert not allowed("any", Attributes("get", path="/metrics"))
    assert allowed("any", Attributes("get", path="/openapi/v3/api/v1"))
    scheduler = "system:kube-scheduler"
    assert allowed(scheduler, Attributes("create", "", "pods", "binding", "ns", "p"))
    assert not allowed(scheduler, Attributes("update", "", "pods", "", "ns", "p"))
    lease = Attributes(
        "update", "coordination.k8s.io", "leases", "", "kube-system", "kube-scheduler"
    )
    assert allowed(scheduler, lease)
    other = Attributes("update", "coordination.k8s.io", "leases", "", "kube-system", "other")
    assert not allowed(scheduler, other)
    assert allowed("system:kube-proxy", Attributes("watch", "discovery.k8s.io", "endpointslices"))
    assert not allowed("system:kube-proxy", Attributes("list", "", "secrets"))


def test_it_is_valid_and_complete() -> None:
    policy = bootstrap_policy()
    names = {(type(one), one.metadata.namespace, one.metadata.name) for one in policy}
    assert len(names) == len(policy)
    for one in policy:
        kind = kind_of(type(one))
        assert kind.validate(kind.default(one)) == []
        assert kind.default(one) == one
        if isinstance(one, RoleBinding | ClusterRoleBinding):
            assert one.role_ref
            type_ = Role if one.role_ref.kind == "Role" else ClusterRole
            assert (type_, one.metadata.namespace, one.role_ref.name) in names
    assert {"admin", "edit", "view", "cluster-admin"} <= {name for _, _, name in names}


def test_admin_may_all_that_edit_may_and_edit_all_that_view_may() -> None:
    roles = keyed(*bootstrap_policy())[ClusterRole]
    assert covers(roles["admin"].rules, roles["edit"].rules) == []
    assert covers(roles["edit"].rules, roles["view"].rules) == []
    assert covers(roles["view"].rules, roles["edit"].rules)
    assert not any("secrets" in rule.resources for rule in roles["view"].rules)


def test_what_is_missing_comes_back_and_what_was_added_stays() -> None:
    wanted = ClusterRole(metadata=ObjectMeta(name="r", labels={"a": "b"}), rules=(READ_PODS,))
    mine = PolicyRule(verbs=("get",), api_groups=("",), resources=("secrets",))
    old = ClusterRole(metadata=ObjectMeta(name="r"), rules=(mine,))
    new = reconciled(old, wanted)
    assert isinstance(new, ClusterRole)
    assert new.rules == (mine, READ_PODS) and new.metadata.labels == {"a": "b"}
    assert reconciled(new, wanted) == new
    held = replace(old, metadata=ObjectMeta(name="r", annotations={AUTOUPDATE: "false"}))
    assert reconciled(held, wanted) == held


ROLE = Role(metadata=ObjectMeta(name="reader", namespace="a"), rules=(READ_PODS,))


def bound(*subjects: Subject, **ref: str) -> RoleBinding:
    of = RoleRef(**{"api_group": GROUP, "kind": "Role", "name": "reader", **ref})
    meta = ObjectMeta(name="readers", namespace="a")
    return RoleBinding(metadata=meta, role_ref=of, subjects=subjects)


def test_a_role_binding_grants_in_its_namespace_only() -> None:
    user = User("jane", frozenset())
    subjects = by_subject(keyed(ROLE, bound(Subject(kind="User", name="jane", api_group=GROUP))))
    found = granted(user, Attributes("get", "", "pods", namespace="a", name="x"), subjects)
    assert found is not None
    assert found.reason == (
        'RBAC: allowed by RoleBinding "readers/a" of Role "reader" to User "jane"'
    )
    for asked in (
        Attributes("get", "", "pods", namespace="b"),
        Attributes("get", "", "pods"),
        Attributes("get", "", "pods", "log", "a"),
        Attributes("delete", "", "pods", namespace="a"),
        Attributes("get", path="/pods"),
    ):
        assert granted(user, asked, subjects) is None


def test_a_service_account_is_a_user_and_its_namespace_a_group() -> None:
    binding = bound(Subject(kind="ServiceAccount", name="web"))
    subjects = by_subject(keyed(ROLE, binding))
    asked = Attributes("list", "", "pods", namespace="a")
    assert granted(User("system:serviceaccount:a:web", frozenset()), asked, subjects)
    assert not granted(User("system:serviceaccount:b:web", frozenset()), asked, subjects)


def test_a_binding_to_a_role_that_is_not_there_grants_nothing() -> None:
    jane = Subject(kind="User", name="jane", api_group=GROUP)
    subjects = by_subject(keyed(ROLE, bound(jane, kind="ClusterRole")))
    asked = Attributes("get", "", "pods", namespace="a")
    assert granted(User("jane", frozenset()), asked, subjects) is None


@pytest.mark.parametrize(
    ("rule", "asked", "is_allowed"),
    [
        (PolicyRule(verbs=("*",), api_groups=("*",), resources=("*",)),
         Attributes("get", "apps", "deployments", "scale"), True),
        (PolicyRule(verbs=("get",), api_groups=("apps",), resources=("*/scale",)),
         Attributes("get", "apps", "deployments", "scale"), True),
        (PolicyRule(verbs=("get",), api_groups=("apps",), resources=("*/scale",)),
         Attributes("get", "apps", "deployments"), False),
        (PolicyRule(verbs=("get",), api_groups=("",), resources=("pods",), resource_names=("a",)),
         Attributes("get", "", "pods", name="b"), False),
        (PolicyRule(verbs=("get",), api_groups=("",), resources=("pods",), resource_names=("a",)),
         Attributes("list", "", "pods"), False),
        (PolicyRule(verbs=("get",), non_resource_urls=("/logs/*",)),
         Attributes("get", path="/logs/x"), True),
        (PolicyRule(verbs=("get",), non_resource_urls=("*",)),
         Attributes("get", "", "pods"), False),
    ],
)  # fmt: skip
def test_what_a_rule_is_about(rule: PolicyRule, asked: Attributes, is_allowed: bool) -> None:
    assert allows(rule, asked) is is_allowed


class Here:
    """What the plug-in asks of the world."""

    def __init__(self, *rules: PolicyRule) -> None:
        self._rules = rules

    def allows(self, _: User, asked: Attributes) -> bool:
        return any(allows(rule, asked) for rule in self._rules)

    def rules_of(self, _: User, __: str) -> tuple[PolicyRule, ...]:
        return self._rules

    def lookup(self, _: type[ApiObject], __: str, name: str) -> ApiObject | None:
        return ROLE if name == "reader" else None


async def granting(new: ApiObject, *rules: PolicyRule, old: ApiObject | None = None) -> None:
    resource = kind_of(type(new)).resource
    user = User("bob", frozenset({"system:authenticated"}))
    write = Write(
        user, "UPDATE" if old else "CREATE", resource, "", "a", new.metadata.name, new, old
    )
    assert rbacescalation.PLUGIN.validate
    await rbacescalation.PLUGIN.validate(write, cast(World, Here(*rules)))


async def test_nobody_grants_more_than_they_have() -> None:
    with pytest.raises(Forbidden) as refused:
        await granting(ROLE, replace(READ_PODS, verbs=("get",)))
    assert str(refused.value) == (
        'roles.rbac.authorization.k8s.io "reader" is forbidden: user "bob" '
        '(groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently '
        'held:\n{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'
    )
    await granting(ROLE, READ_PODS)
    await granting(ROLE, PolicyRule(verbs=("*",), api_groups=("*",), resources=("*",)))
    escalate = PolicyRule(verbs=("escalate",), api_groups=(GROUP,), resources=("roles",))
    await granting(ROLE, escalate)
    # What does not change what is granted is not asked about.
    await granting(ROLE, old=ROLE)


async def test_nobody_binds_what_they_do_not_have() -> None:
    binding = bound(Subject(kind="User", name="eve", api_group=GROUP))
    with pytest.raises(Forbidden, match="is attempting to grant RBAC permissions"):
        await granting(binding)
    await granting(binding, READ_PODS)
    bind = PolicyRule(
        verbs=("bind",), api_groups=(GROUP,), resources=("roles",), resource_names=("reader",)
    )
    await granting(binding, bind)
    with pytest.raises(Forbidden, match=r'roles\.rbac\.authorization\.k8s\.io "gone" not found'):
        await granting(bound(name="gone"))


async def test_only_who_may_everything_aggregates() -> None:
    rule = AggregationRule(cluster_role_selectors=(LabelSelector(match_labels={"a": "b"}),))
    role = ClusterRole(metadata=ObjectMeta(name="sum"), aggregation_rule=rule)
    with pytest.raises(Forbidden, match="must have cluster-admin privileges"):
        await granting(role, READ_PODS)
    everything = PolicyRule(verbs=("*",), api_groups=("*",), resources=("*",))
    paths = PolicyRule(verbs=("*",), non_resource_urls=("*",))
    await granting(role, everything, paths)
