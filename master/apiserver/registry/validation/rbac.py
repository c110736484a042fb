"""Validation of roles and bindings (pkg/apis/rbac/validation). Pure."""

from __future__ import annotations

from kube.api.meta import StatusCause
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
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import dns_subdomain, path_segment
from master.apiserver.registry.validation.selectors import validate_selector

Causes = list[StatusCause]
GROUP = "rbac.authorization.k8s.io"
SERVICE_ACCOUNT, USER, GROUP_KIND = "ServiceAccount", "User", "Group"


def validate_role(obj: Role) -> Causes:
    return _rules(obj.rules, namespaced=True)


def validate_cluster_role(obj: ClusterRole) -> Causes:
    causes = _rules(obj.rules, namespaced=False)
    return causes + _aggregation(obj.aggregation_rule) if obj.aggregation_rule else causes


def _aggregation(rule: AggregationRule) -> Causes:
    path = "aggregationRule.clusterRoleSelectors"
    if not rule.cluster_role_selectors:
        text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        return [field.required(path, text)]
    causes: Causes = []
    for index, selector in enumerate(rule.cluster_role_selectors):
        causes += validate_selector(selector, f"{path}[{index}]")
    return causes


def _rules(rules: tuple[PolicyRule, ...], *, namespaced: bool) -> Causes:
    causes: Causes = []
    for index, rule in enumerate(rules):
        causes += _rule(rule, f"rules[{index}]", namespaced=namespaced)
    return causes


def _rule(rule: PolicyRule, path: str, *, namespaced: bool) -> Causes:
    causes: Causes = []
    if not rule.verbs:
        causes.append(field.required(f"{path}.verbs", "verbs must contain at least one value"))
    if rule.non_resource_urls:
        here, shown = f"{path}.nonResourceURLs", list(rule.non_resource_urls)
        if namespaced:
            text = "namespaced rules cannot apply to non-resource URLs"
            causes.append(field.invalid(here, shown, text))
        if rule.api_groups or rule.resources or rule.resource_names:
            text = "rules cannot apply to both regular resources and non-resource URLs"
            causes.append(field.invalid(here, shown, text))
        return causes
    if not rule.api_groups:
        text = "resource rules must supply at least one api group"
        causes.append(field.required(f"{path}.apiGroups", text))
    if not rule.resources:
        text = "resource rules must supply at least one resource"
        causes.append(field.required(f"{path}.resources", text))
    return causes


def validate_role_binding(obj: RoleBinding) -> Causes:
    causes = _role_ref(obj.role_ref or RoleRef(), ("Role", "ClusterRole"))
    return causes + _subjects(obj.subjects, namespaced=True)


def validate_cluster_role_binding(obj: ClusterRoleBinding) -> Causes:
    causes = _role_ref(obj.role_ref or RoleRef(), ("ClusterRole",))
    return causes + _subjects(obj.subjects, namespaced=False)


def _role_ref(ref: RoleRef, kinds: tuple[str, ...]) -> Causes:
    causes: Causes = []
    if ref.api_group != GROUP:
        causes.append(field.not_supported("roleRef.apiGroup", ref.api_group, (GROUP,)))
    if ref.kind not in kinds:
        causes.append(field.not_supported("roleRef.kind", ref.kind, kinds))
    if not ref.name:
        causes.append(field.required("roleRef.name"))
    elif why := path_segment(ref.name):
        causes.append(field.invalid("roleRef.name", ref.name, why))
    return causes


def _subjects(subjects: tuple[Subject, ...], *, namespaced: bool) -> Causes:
    causes: Causes = []
    for index, subject in enumerate(subjects):
        causes += _subject(subject, f"subjects[{index}]", namespaced=namespaced)
    return causes


def _subject(subject: Subject, path: str, *, namespaced: bool) -> Causes:
    causes: Causes = []
    if not subject.name:
        causes.append(field.required(f"{path}.name"))
    group = GROUP
    match subject.kind:
        case "ServiceAccount":
            group = ""
            if subject.name and (why := dns_subdomain(subject.name)):
                causes.append(field.invalid(f"{path}.name", subject.name, why))
            if not namespaced and not subject.namespace:
                causes.append(field.required(f"{path}.namespace"))
        case "User" | "Group":
            pass
        case kind:
            choices = (SERVICE_ACCOUNT, USER, GROUP_KIND)
            return [*causes, field.not_supported(f"{path}.kind", kind, choices)]
    if subject.api_group != group:
        causes.append(field.not_supported(f"{path}.apiGroup", subject.api_group, (group,)))
    return causes


def validate_binding_update(
    new: RoleBinding | ClusterRoleBinding, old: RoleBinding | ClusterRoleBinding
) -> Causes:
    if new.role_ref == old.role_ref:
        return []
    ref = new.role_ref or RoleRef()
    shown = {"apiGroup": ref.api_group, "kind": ref.kind, "name": ref.name}
    return [field.invalid("roleRef", shown, "cannot change roleRef")]
