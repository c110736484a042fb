"""Validation of HorizontalPodAutoscalers (pkg/apis/autoscaling/validation). Pure."""

from __future__ import annotations

from kube.api.autoscaling_v2 import (
    ContainerResourceMetricSource,
    CrossVersionObjectReference,
    HorizontalPodAutoscaler,
    HPAScalingRules,
    MetricIdentifier,
    MetricSpec,
    MetricTarget,
    ResourceMetricSource,
)
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import path_segment
from master.apiserver.registry.validation.quantities import validate_quantity
from master.apiserver.registry.validation.selectors import validate_selector

Causes = list[StatusCause]
# A metric's type, and the field that says the rest.
SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_TARGETS = ("Utilization", "Value", "AverageValue")
_SELECT = ("Disabled", "Max", "Min")
_POLICIES = ("Percent", "Pods")
MAX_WINDOW, MAX_PERIOD = 3600, 1800


def validate_autoscaler(obj: HorizontalPodAutoscaler) -> Causes:
    spec = obj.spec
    causes = formats.at_least("spec.minReplicas", spec.min_replicas, 1)
    least, most = spec.min_replicas or 1, spec.max_replicas or 0
    if causes:
        text = "must be greater than or equal to 1"
        causes = [field.invalid("spec.minReplicas", spec.min_replicas, text)]
    if most < 1:
        causes.append(field.invalid("spec.maxReplicas", most, "must be greater than 0"))
    if most < least:
        text = "must be greater than or equal to `minReplicas`"
        causes.append(field.invalid("spec.maxReplicas", most, text))
    causes += _reference(
        spec.scale_target_ref or CrossVersionObjectReference(), "spec.scaleTargetRef"
    )
    for index, metric in enumerate(spec.metrics):
        causes += _metric(metric, f"spec.metrics[{index}]")
    if spec.behavior:
        for name, rules in (
            ("scaleUp", spec.behavior.scale_up),
            ("scaleDown", spec.behavior.scale_down),
        ):
            causes += _rules(rules, f"spec.behavior.{name}") if rules else []
    return causes


def validate_autoscaler_status(obj: HorizontalPodAutoscaler) -> Causes:
    causes = formats.at_least("status.currentReplicas", obj.status.current_replicas, 0)
    return causes + formats.at_least("status.desiredReplicas", obj.status.desired_replicas, 0)


def _reference(ref: CrossVersionObjectReference, path: str) -> Causes:
    causes: Causes = []
    for name, value in (("kind", ref.kind), ("name", ref.name)):
        if not value:
            causes.append(field.required(f"{path}.{name}"))
        elif why := path_segment(value):
            causes.append(field.invalid(f"{path}.{name}", value, why))
    if ref.api_version.count("/") > 1:
        text = f"unexpected GroupVersion string: {ref.api_version}"
        causes.append(field.invalid(f"{path}.apiVersion", ref.api_version, text))
    return causes


def _metric(metric: MetricSpec, path: str) -> Causes:
    if not metric.type:
        return [field.required(f"{path}.type", "must specify a metric source type")]
    if metric.type not in SOURCES:
        return [field.not_supported(f"{path}.type", metric.type, tuple(SOURCES))]
    given = {
        "containerResource": metric.container_resource,
        "external": metric.external,
        "object": metric.object,
        "pods": metric.pods,
        "resource": metric.resource,
    }
    expected = SOURCES[metric.type]
    causes: Causes = []
    if given[expected] is None:
        text = "must populate information for the given metric source"
        causes.append(field.required(f"{path}.{expected}", text))
    for name, source in given.items():
        if source is not None and name != expected:
            text = "must populate the given metric source only"
            causes.append(field.forbidden(f"{path}.{name}", text))
    return causes + _sources(metric, path)


def _sources(metric: MetricSpec, path: str) -> Causes:
    causes: Causes = []
    if metric.object:
        here = f"{path}.object"
        described = metric.object.described_object or CrossVersionObjectReference()
        causes += _reference(described, f"{here}.describedObject")
        causes += _identifier(metric.object.metric, f"{here}.metric")
        causes += _value(metric.object.target, f"{here}.target")
    if metric.external:
        here = f"{path}.external"
        causes += _identifier(metric.external.metric, f"{here}.metric")
        causes += _value(metric.external.target, f"{here}.target")
    if metric.pods:
        here = f"{path}.pods"
        causes += _identifier(metric.pods.metric, f"{here}.metric")
        causes += _target(metric.pods.target, f"{here}.target")
        if metric.pods.target is None or metric.pods.target.average_value == "":
            text = "must specify a positive target averageValue"
            causes.append(field.required(f"{here}.target.averageValue", text))
    if metric.resource:
        causes += _resource(metric.resource, f"{path}.resource")
    if metric.container_resource:
        here = f"{path}.containerResource"
        if not metric.container_resource.container:
            causes.append(field.required(f"{here}.container", "must specify a container"))
        causes += _resource(metric.container_resource, here)
    return causes


def _identifier(metric: MetricIdentifier | None, path: str) -> Causes:
    if metric is None or not metric.name:
        return [field.required(f"{path}.name", "must specify a metric name")]
    causes = validate_selector(metric.selector, f"{path}.selector")
    if why := path_segment(metric.name):
        causes.append(field.invalid(f"{path}.name", metric.name, why))
    return causes


def _target(target: MetricTarget | None, path: str) -> Causes:
    if target is None or not target.type:
        return [field.required(f"{path}.type", "must specify a metric target type")]
    causes: Causes = []
    if target.type not in _TARGETS:
        text = "must be either Utilization, Value, or AverageValue"
        causes.append(field.invalid(f"{path}.type", target.type, text))
    for name, value in (("value", target.value), ("averageValue", target.average_value)):
        if value != "" and validate_quantity(f"{path}.{name}", value, positive=True):
            causes.append(field.invalid(f"{path}.{name}", str(value), "must be positive"))
    utilization = target.average_utilization
    return causes + formats.at_least(f"{path}.averageUtilization", utilization, 1)


def _value(target: MetricTarget | None, path: str) -> Causes:
    """Of metrics that are not of pods: the whole, or a share for each pod."""
    causes = _target(target, path)
    if target and target.value == "" and target.average_value == "":
        text = "must set either a target value for metric or a per-pod target"
        causes.append(field.required(f"{path}.averageValue", text))
    if target and target.value != "" and target.average_value != "":
        text = "may not set both a target value for metric and a per-pod target"
        causes.append(field.forbidden(f"{path}.value", text))
    return causes


def _resource(source: ResourceMetricSource | ContainerResourceMetricSource, path: str) -> Causes:
    causes: Causes = []
    if not source.name:
        causes.append(field.required(f"{path}.name", "must specify a resource name"))
    causes += _target(source.target, f"{path}.target")
    target = source.target or MetricTarget()
    raw, share = target.average_value != "", target.average_utilization is not None
    if not raw and not share:
        text = "must set either a target raw value or a target utilization"
        causes.append(field.required(f"{path}.target.averageUtilization", text))
    if raw and share:
        text = "may not set both a target raw value and a target utilization"
        causes.append(field.forbidden(f"{path}.target.averageValue", text))
    return causes


def _rules(rules: HPAScalingRules, path: str) -> Causes:
    window = rules.stabilization_window_seconds
    causes = formats.at_least(f"{path}.stabilizationWindowSeconds", window, 0)
    if window is not None and window > MAX_WINDOW:
        text = f"must be less than or equal to {MAX_WINDOW}"
        causes.append(field.invalid(f"{path}.stabilizationWindowSeconds", window, text))
    if rules.select_policy and rules.select_policy not in _SELECT:
        wrong = rules.select_policy
        causes.append(field.not_supported(f"{path}.selectPolicy", wrong, _SELECT))
    if not rules.policies:
        causes.append(field.required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.policies):
        here = f"{path}.policies[{index}]"
        if policy.type not in _POLICIES:
            causes.append(field.not_supported(f"{here}.type", policy.type, _POLICIES))
        causes += formats.at_least(f"{here}.value", policy.value or 0, 1)
        period = policy.period_seconds or 0
        causes += formats.at_least(f"{here}.periodSeconds", period, 1)
        if period > MAX_PERIOD:
            text = f"must be less than or equal to {MAX_PERIOD}"
            causes.append(field.invalid(f"{here}.periodSeconds", period, text))
    return causes
