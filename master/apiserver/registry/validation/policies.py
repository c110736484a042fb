"""Validation of admission policies (pkg/apis/admissionregistration/validation). Pure.

Expressions are not compiled here: nothing evaluates them yet.
"""

from __future__ import annotations

from kube.api.admissionregistration import (
    MatchResources,
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    Mutation,
    ParamKind,
    ParamRef,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    Validation,
    Variable,
)
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import dns_subdomain, qualified_name
from master.apiserver.registry.validation.selectors import validate_selector
from master.apiserver.registry.validation.webhooks import (
    FAILURES,
    MATCHES,
    REINVOCATIONS,
    validate_conditions,
    validate_rule,
)

Causes = list[StatusCause]
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_ACTIONS = ("Audit", "Deny", "Warn")
_NOT_FOUND = ("Allow", "Deny")
_PATCHES = ("ApplyConfiguration", "JSONPatch")
MAX_ANNOTATIONS = 20


def validate_policy(obj: ValidatingAdmissionPolicy) -> Causes:
    spec = obj.spec
    causes = _common(spec.failure_policy, spec.param_kind, spec.match_constraints, spec.variables)
    causes += validate_conditions(spec.match_conditions, "spec.matchConditions")
    if not spec.validations and not spec.audit_annotations:
        text = "validations or auditAnnotations must be specified"
        causes.append(field.required("spec.validations", text))
    for index, validation in enumerate(spec.validations):
        causes += _validation(validation, f"spec.validations[{index}]")
    if len(spec.audit_annotations) > MAX_ANNOTATIONS:
        count = len(spec.audit_annotations)
        causes.append(field.too_many("spec.auditAnnotations", count, MAX_ANNOTATIONS))
    seen: set[str] = set()
    for index, annotation in enumerate(spec.audit_annotations):
        path = f"spec.auditAnnotations[{index}]"
        if why := qualified_name(f"{obj.metadata.name[:63]}/{annotation.key}"):
            causes.append(field.invalid(f"{path}.key", annotation.key, why))
        if annotation.key in seen:
            causes.append(field.duplicate(f"{path}.key", annotation.key))
        seen.add(annotation.key)
        if not annotation.value_expression.strip():
            text = "valueExpression is not specified"
            causes.append(field.required(f"{path}.valueExpression", text))
    return causes


def validate_mutating_policy(obj: MutatingAdmissionPolicy) -> Causes:
    spec = obj.spec
    causes = _common(spec.failure_policy, spec.param_kind, spec.match_constraints, spec.variables)
    causes += validate_conditions(spec.match_conditions, "spec.matchConditions")
    if not spec.mutations:
        causes.append(field.required("spec.mutations", "mutations must contain at least one item"))
    for index, mutation in enumerate(spec.mutations):
        causes += _mutation(mutation, f"spec.mutations[{index}]")
    policy, path = spec.reinvocation_policy, "spec.reinvocationPolicy"
    if not policy:
        causes.append(field.required(path))
    elif policy not in REINVOCATIONS:
        causes.append(field.not_supported(path, policy, REINVOCATIONS))
    return causes


def _common(
    failure: str,
    kind: ParamKind | None,
    matches: MatchResources | None,
    variables: tuple[Variable, ...],
) -> Causes:
    causes: Causes = []
    if not failure:
        causes.append(field.required("spec.failurePolicy"))
    elif failure not in FAILURES:
        causes.append(field.not_supported("spec.failurePolicy", failure, FAILURES))
    if kind is not None:
        if not kind.api_version:
            causes.append(field.required("spec.paramKind.apiVersion"))
        if not kind.kind:
            causes.append(field.required("spec.paramKind.kind"))
    path = "spec.matchConstraints"
    if matches is None:
        causes.append(field.required(path))
    else:
        causes += _matches(matches, path)
        if not matches.resource_rules:
            causes.append(field.required(f"{path}.resourceRules"))
    for index, variable in enumerate(variables):
        here = f"spec.variables[{index}]"
        if not variable.name.isidentifier():
            text = "name is not a valid CEL identifier"
            wrong = field.invalid(f"{here}.name", variable.name, text)
            missing = field.required(f"{here}.name", "name is not specified")
            causes.append(wrong if variable.name else missing)
        if not variable.expression.strip():
            causes.append(field.required(f"{here}.expression", "expression is not specified"))
    return causes


def _matches(matches: MatchResources, path: str) -> Causes:
    causes: Causes = []
    if matches.match_policy not in MATCHES:
        wrong = matches.match_policy
        missing = field.required(f"{path}.matchPolicy")
        causes.append(
            field.not_supported(f"{path}.matchPolicy", wrong, MATCHES) if wrong else missing
        )
    causes += validate_selector(matches.namespace_selector, f"{path}.namespaceSelector")
    causes += validate_selector(matches.object_selector, f"{path}.objectSelector")
    for name, rules in (
        ("resourceRules", matches.resource_rules),
        ("excludeResourceRules", matches.exclude_resource_rules),
    ):
        for index, rule in enumerate(rules):
            causes += validate_rule(rule, f"{path}.{name}[{index}]")
    return causes


def _validation(validation: Validation, path: str) -> Causes:
    causes: Causes = []
    if not validation.expression.strip():
        causes.append(field.required(f"{path}.expression", "expression is not specified"))
    if "\n" in validation.message:
        text = "message must not contain line breaks"
        causes.append(field.invalid(f"{path}.message", validation.message, text))
    if validation.reason and validation.reason not in _REASONS:
        causes.append(field.not_supported(f"{path}.reason", validation.reason, _REASONS))
    return causes


def _mutation(mutation: Mutation, path: str) -> Causes:
    given = {
        "ApplyConfiguration": mutation.apply_configuration,
        "JSONPatch": mutation.json_patch,
    }
    names = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
    if mutation.patch_type not in _PATCHES:
        wrong = field.not_supported(f"{path}.patchType", mutation.patch_type, _PATCHES)
        return [wrong if mutation.patch_type else field.required(f"{path}.patchType")]
    wanted = given[mutation.patch_type]
    here = f"{path}.{names[mutation.patch_type]}"
    if wanted is None:
        text = f"must be specified when patchType is {mutation.patch_type}"
        return [field.required(here, text)]
    if not wanted.expression.strip():
        return [field.required(f"{here}.expression", "expression is not specified")]
    return []


def validate_binding(obj: ValidatingAdmissionPolicyBinding) -> Causes:
    spec, path = obj.spec, "spec.validationActions"
    causes = _binding(spec.policy_name, spec.param_ref, spec.match_resources)
    if not spec.validation_actions:
        text = "at least one validation action is required"
        causes.append(field.required(path, text))
    for index, action in enumerate(spec.validation_actions):
        if action not in _ACTIONS:
            causes.append(field.not_supported(path, action, _ACTIONS))
        if action in spec.validation_actions[:index]:
            causes.append(field.duplicate(path, action))
    if {"Deny", "Warn"} <= set(spec.validation_actions):
        text = (
            "must not contain both Deny and Warn (repeating the same validation failure "
            "information in the API response and headers serves no purpose)"
        )
        causes.append(field.invalid(path, list(spec.validation_actions), text))
    return causes


def validate_mutating_binding(obj: MutatingAdmissionPolicyBinding) -> Causes:
    return _binding(obj.spec.policy_name, obj.spec.param_ref, obj.spec.match_resources)


def _binding(policy: str, ref: ParamRef | None, matches: MatchResources | None) -> Causes:
    causes: Causes = []
    if not policy:
        causes.append(field.required("spec.policyName"))
    elif why := dns_subdomain(policy):
        causes.append(field.invalid("spec.policyName", policy, why))
    if ref is not None:
        causes += _param_ref(ref, "spec.paramRef")
    return causes + _matches(matches, "spec.matchResources") if matches else causes


def _param_ref(ref: ParamRef, path: str) -> Causes:
    causes: Causes = []
    if ref.name and ref.selector is not None:
        text = "name and selector are mutually exclusive"
        causes.append(field.forbidden(f"{path}.name", text))
    elif not ref.name and ref.selector is None:
        causes.append(field.required(path, "one of name or selector must be specified"))
    elif ref.name and (why := dns_subdomain(ref.name)):
        causes.append(field.invalid(f"{path}.name", ref.name, why))
    action, here = ref.parameter_not_found_action, f"{path}.parameterNotFoundAction"
    if not action:
        causes.append(field.required(here))
    elif action not in _NOT_FOUND:
        causes.append(field.not_supported(here, action, _NOT_FOUND))
    return causes
