"""Validation of PodDisruptionBudgets (pkg/apis/policy/validation). Pure."""

from __future__ import annotations

from kube.api.meta import StatusCause
from kube.api.policy import PodDisruptionBudget
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.amounts import validate_amount, validate_share
from master.apiserver.registry.validation.selectors import validate_selector

Causes = list[StatusCause]
_UNHEALTHY = ("AlwaysAllow", "IfHealthyBudget")


def validate_budget(obj: PodDisruptionBudget) -> Causes:
    spec = obj.spec
    causes: Causes = []
    if spec.min_available is not None and spec.max_unavailable is not None:
        shown = {"minAvailable": spec.min_available, "maxUnavailable": spec.max_unavailable}
        text = "minAvailable and maxUnavailable cannot be both set"
        causes.append(field.invalid("spec", shown, text))
    for name, value in (
        ("minAvailable", spec.min_available),
        ("maxUnavailable", spec.max_unavailable),
    ):
        causes += validate_amount(f"spec.{name}", value)
        causes += validate_share(f"spec.{name}", value)
    causes += validate_selector(spec.selector, "spec.selector")
    policy = spec.unhealthy_pod_eviction_policy
    if policy and policy not in _UNHEALTHY:
        path = "spec.unhealthyPodEvictionPolicy"
        causes.append(field.not_supported(path, policy, _UNHEALTHY))
    return causes


def validate_budget_status(obj: PodDisruptionBudget) -> Causes:
    status = obj.status
    causes: Causes = []
    for name, value in (
        ("disruptionsAllowed", status.disruptions_allowed),
        ("currentHealthy", status.current_healthy),
        ("desiredHealthy", status.desired_healthy),
        ("expectedPods", status.expected_pods),
    ):
        causes += formats.at_least(f"status.{name}", value, 0)
    return causes
