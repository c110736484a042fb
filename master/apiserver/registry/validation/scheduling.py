"""Validation of where a pod may run: tolerations, affinities, spreading. Pure."""

from __future__ import annotations

from kube.api.core import (
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinityTerm,
    PodSpec,
    Toleration,
    TopologySpreadConstraint,
)
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import (
    dns_label,
    label_value,
    qualified_name,
    validate_labels,
)
from master.apiserver.registry.validation.selectors import validate_selector

Causes = list[StatusCause]
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_INCLUSION = ("Honor", "Ignore")


def validate_scheduling(spec: PodSpec, path: str) -> Causes:
    causes = validate_labels(spec.node_selector, f"{path}.nodeSelector")
    causes += validate_tolerations(spec.tolerations, f"{path}.tolerations")
    if affinity := spec.affinity:
        here = f"{path}.affinity"
        if affinity.node_affinity:
            causes += _node_affinity(affinity.node_affinity, f"{here}.nodeAffinity")
        for name, pods in (
            ("podAffinity", affinity.pod_affinity),
            ("podAntiAffinity", affinity.pod_anti_affinity),
        ):
            if pods is None:
                continue
            required = pods.required_during_scheduling_ignored_during_execution
            preferred = pods.preferred_during_scheduling_ignored_during_execution
            for index, term in enumerate(required):
                place = f"{here}.{name}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
                causes += _pod_term(term, place)
            for index, weighted in enumerate(preferred):
                place = f"{here}.{name}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
                causes += _weight(weighted.weight, place)
                term = weighted.pod_affinity_term or PodAffinityTerm()
                causes += _pod_term(term, f"{place}.podAffinityTerm")
    causes += _spread(spec.topology_spread_constraints, f"{path}.topologySpreadConstraints")
    for index, gate in enumerate(spec.scheduling_gates):
        if why := qualified_name(gate.name):
            causes.append(field.invalid(f"{path}.schedulingGates[{index}].name", gate.name, why))
    for index, readiness in enumerate(spec.readiness_gates):
        if why := qualified_name(readiness.condition_type):
            here = f"{path}.readinessGates[{index}].conditionType"
            causes.append(field.invalid(here, readiness.condition_type, why))
    return causes


def _weight(weight: int | None, path: str) -> Causes:
    if 1 <= (weight or 0) <= 100:
        return []
    return [field.invalid(f"{path}.weight", weight or 0, "must be in the range 1-100")]


def validate_node_selector(selector: NodeSelector, path: str) -> Causes:
    here = f"{path}.nodeSelectorTerms"
    if not selector.node_selector_terms:
        return [field.required(here, "must have at least one node selector term")]
    causes: Causes = []
    for index, term in enumerate(selector.node_selector_terms):
        causes += _node_term(term, f"{here}[{index}]")
    return causes


def _node_affinity(affinity: NodeAffinity, path: str) -> Causes:
    causes: Causes = []
    required = affinity.required_during_scheduling_ignored_during_execution
    if required is not None:
        here = f"{path}.requiredDuringSchedulingIgnoredDuringExecution"
        causes += validate_node_selector(required, here)
    preferred = affinity.preferred_during_scheduling_ignored_during_execution
    for index, weighted in enumerate(preferred):
        here = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        causes += _weight(weighted.weight, here)
        causes += _node_term(weighted.preference or NodeSelectorTerm(), f"{here}.preference")
    return causes


def _node_term(term: NodeSelectorTerm, path: str) -> Causes:
    causes: Causes = []
    for index, wanted in enumerate(term.match_expressions):
        here = f"{path}.matchExpressions[{index}]"
        causes += _node_requirement(wanted, here)
        if why := qualified_name(wanted.key):
            causes.append(field.invalid(f"{here}.key", wanted.key, why))
    for index, wanted in enumerate(term.match_fields):
        here = f"{path}.matchFields[{index}]"
        if wanted.key != "metadata.name":
            text = "not a valid field selector key"
            causes.append(field.invalid(f"{here}.key", wanted.key, text))
        if wanted.operator not in ("In", "NotIn"):
            text = "not a valid selector operator"
            causes.append(field.invalid(f"{here}.operator", wanted.operator, text))
        elif len(wanted.values) != 1:
            text = (
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            )
            causes.append(field.required(f"{here}.values", text))
    return causes


def _node_requirement(wanted: NodeSelectorRequirement, path: str) -> Causes:
    match wanted.operator:
        case "In" | "NotIn" if not wanted.values:
            text = "must be specified when `operator` is 'In' or 'NotIn'"
            return [field.required(f"{path}.values", text)]
        case "Exists" | "DoesNotExist" if wanted.values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            return [field.forbidden(f"{path}.values", text)]
        case "Gt" | "Lt" if len(wanted.values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            return [field.required(f"{path}.values", text)]
        case "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt":
            return []
    text = "not a valid selector operator"
    return [field.invalid(f"{path}.operator", wanted.operator, text)]


def _pod_term(term: PodAffinityTerm, path: str) -> Causes:
    causes = _topology_key(term.topology_key, path)
    for index, name in enumerate(term.namespaces):
        if why := dns_label(name):
            causes.append(field.invalid(f"{path}.namespaces[{index}]", name, why))
    causes += validate_selector(term.label_selector, f"{path}.labelSelector")
    return causes + validate_selector(term.namespace_selector, f"{path}.namespaceSelector")


def _topology_key(key: str, path: str) -> Causes:
    if not key:
        return [field.required(f"{path}.topologyKey", "can not be empty")]
    why = qualified_name(key)
    return [field.invalid(f"{path}.topologyKey", key, why)] if why else []


def _spread(constraints: tuple[TopologySpreadConstraint, ...], path: str) -> Causes:
    causes: Causes = []
    seen: set[tuple[str, str]] = set()
    for index, wanted in enumerate(constraints):
        here = f"{path}[{index}]"
        if (wanted.max_skew or 0) <= 0:
            text = "must be greater than zero"
            causes.append(field.invalid(f"{here}.maxSkew", wanted.max_skew or 0, text))
        causes += formats.at_least(f"{here}.minDomains", wanted.min_domains, 1)
        causes += _topology_key(wanted.topology_key, here)
        for name, value, choices in (
            ("whenUnsatisfiable", wanted.when_unsatisfiable, _UNSATISFIABLE),
            ("nodeAffinityPolicy", wanted.node_affinity_policy or "Honor", _INCLUSION),
            ("nodeTaintsPolicy", wanted.node_taints_policy or "Honor", _INCLUSION),
        ):
            if value not in choices:
                causes.append(field.not_supported(f"{here}.{name}", value, choices))
        key = (wanted.topology_key, wanted.when_unsatisfiable)
        if key in seen:
            shown = f"{{{wanted.topology_key}, {wanted.when_unsatisfiable}}}"
            causes.append(field.duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", shown))
        seen.add(key)
        causes += validate_selector(wanted.label_selector, f"{here}.labelSelector")
    return causes


def validate_tolerations(tolerations: tuple[Toleration, ...], path: str) -> Causes:
    causes: Causes = []
    for index, toleration in enumerate(tolerations):
        causes += _toleration(toleration, f"{path}[{index}]")
    return causes


def _toleration(toleration: Toleration, path: str) -> Causes:
    causes: Causes = []
    if toleration.key and (why := qualified_name(toleration.key)):
        causes.append(field.invalid(f"{path}.key", toleration.key, why))
    if not toleration.key and toleration.operator != "Exists":
        causes.append(
            field.invalid(
                f"{path}.operator",
                toleration.operator,
                "operator must be Exists when `key` is empty, which means "
                '"match all values and all keys"',
            )
        )
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        causes.append(field.invalid(f"{path}.effect", toleration.effect, text))
    if toleration.operator == "Exists" and toleration.value:
        text = "value must be empty when `operator` is 'Exists'"
        causes.append(field.invalid(f"{path}.operator", {}, text))
    elif why := label_value(toleration.value):
        causes.append(field.invalid(f"{path}.operator", toleration.value, why))
    if toleration.operator not in ("", "Equal", "Exists"):
        causes.append(
            field.not_supported(f"{path}.operator", toleration.operator, ("Equal", "Exists"))
        )
    if toleration.effect and toleration.effect not in _EFFECTS:
        causes.append(field.not_supported(f"{path}.effect", toleration.effect, _EFFECTS))
    return causes
