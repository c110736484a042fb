"""Validating and mutating admission policies, and their bindings. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from kube.api.admissionregistration import (
    MatchResources,
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    NamedRuleWithOperations,
    ParamKind,
    ParamRef,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicyStatus,
)
from kube.api.meta import LabelSelector
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status
from master.apiserver.kinds.cell import UNSET, age, selector
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.policies import (
    validate_binding,
    validate_mutating_binding,
    validate_mutating_policy,
    validate_policy,
)

_BINDING_COLUMNS = columns("Name PolicyName ParamRef Age")
Binding = ValidatingAdmissionPolicyBinding | MutatingAdmissionPolicyBinding
PolicyT = TypeVar("PolicyT", ValidatingAdmissionPolicy, MutatingAdmissionPolicy)
BindingT = TypeVar("BindingT", ValidatingAdmissionPolicyBinding, MutatingAdmissionPolicyBinding)
Rules = tuple[NamedRuleWithOperations, ...]


def default_policy(obj: PolicyT) -> PolicyT:
    spec = replace(
        obj.spec,
        failure_policy=obj.spec.failure_policy or "Fail",
        match_constraints=_matches(obj.spec.match_constraints),
    )
    return replace(obj, spec=spec)


def default_binding(obj: BindingT) -> BindingT:
    return replace(obj, spec=replace(obj.spec, match_resources=_matches(obj.spec.match_resources)))


def _matches(matches: MatchResources | None) -> MatchResources | None:
    if matches is None:
        return None
    return replace(
        matches,
        match_policy=matches.match_policy or "Equivalent",
        namespace_selector=matches.namespace_selector or LabelSelector(),
        object_selector=matches.object_selector or LabelSelector(),
        resource_rules=_rules(matches.resource_rules),
        exclude_resource_rules=_rules(matches.exclude_resource_rules),
    )


def _rules(rules: Rules) -> Rules:
    return tuple(replace(rule, scope=rule.scope or "*") for rule in rules)


def policy_cells(obj: ValidatingAdmissionPolicy, now: datetime) -> Cells:
    spec = obj.spec
    created = age(obj.metadata.creation_timestamp, now)
    return [obj.metadata.name, len(spec.validations), _kind(spec.param_kind), created]


def mutating_cells(obj: MutatingAdmissionPolicy, now: datetime) -> Cells:
    spec = obj.spec
    created = age(obj.metadata.creation_timestamp, now)
    return [obj.metadata.name, len(spec.mutations), _kind(spec.param_kind), created]


def _kind(kind: ParamKind | None) -> str:
    return UNSET if kind is None else f"{kind.api_version}/{kind.kind}"


def binding_cells(obj: Binding, now: datetime) -> Cells:
    created = age(obj.metadata.creation_timestamp, now)
    return [obj.metadata.name, obj.spec.policy_name, _ref(obj.spec.param_ref), created]


def _ref(ref: ParamRef | None) -> str:
    if ref is None:
        return UNSET
    if ref.name:
        return f"{ref.namespace or '*'}/{ref.name}"
    return selector(ref.selector)


POLICY = Kind(
    resource=resource_for(ValidatingAdmissionPolicy),
    columns=columns("Name Validations# ParamKind Age"),
    cells=policy_cells,
    default=default_policy,
    on_create=fresh_status(ValidatingAdmissionPolicyStatus),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_policy,
    counted=spec_of,
    subresources=(STATUS,),
)
BINDING = Kind(
    resource=resource_for(ValidatingAdmissionPolicyBinding),
    columns=_BINDING_COLUMNS,
    cells=binding_cells,
    default=default_binding,
    validate=validate_binding,
    counted=spec_of,
)
MUTATING_POLICY = Kind(
    resource=resource_for(MutatingAdmissionPolicy),
    columns=columns("Name Mutations# ParamKind Age"),
    cells=mutating_cells,
    default=default_policy,
    validate=validate_mutating_policy,
    counted=spec_of,
)
MUTATING_BINDING = Kind(
    resource=resource_for(MutatingAdmissionPolicyBinding),
    columns=_BINDING_COLUMNS,
    cells=binding_cells,
    default=default_binding,
    validate=validate_mutating_binding,
    counted=spec_of,
)
