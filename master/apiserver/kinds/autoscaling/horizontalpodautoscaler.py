"""HorizontalPodAutoscalers (pkg/apis/autoscaling/v2/defaults.go). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from msgspec.structs import replace

from kube.api.autoscaling_v2 import (
    ContainerResourceMetricSource,
    CrossVersionObjectReference,
    ExternalMetricSource,
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerStatus,
    HPAScalingPolicy,
    HPAScalingRules,
    MetricSpec,
    MetricStatus,
    MetricTarget,
    MetricValueStatus,
    ObjectMetricSource,
    ResourceMetricSource,
)
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status, value_or
from master.apiserver.kinds.cell import NONE, UNKNOWN, UNSET, age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.autoscaling import (
    validate_autoscaler,
    validate_autoscaler_status,
)

CPU = MetricSpec(
    type="Resource",
    resource=ResourceMetricSource(
        name="cpu", target=MetricTarget(type="Utilization", average_utilization=80)
    ),
)
_TWICE = HPAScalingPolicy(type="Percent", value=100, period_seconds=15)
UP = HPAScalingRules(
    stabilization_window_seconds=0,
    select_policy="Max",
    policies=(HPAScalingPolicy(type="Pods", value=4, period_seconds=15), _TWICE),
)
DOWN = HPAScalingRules(select_policy="Max", policies=(_TWICE,))
_SHOWN = 2


def default(obj: HorizontalPodAutoscaler) -> HorizontalPodAutoscaler:
    behavior = obj.spec.behavior
    spec = replace(
        obj.spec,
        min_replicas=value_or(obj.spec.min_replicas, 1),
        metrics=obj.spec.metrics or (CPU,),
        behavior=behavior and _behavior(behavior),
    )
    return replace(obj, spec=spec)


def _behavior(behavior: HorizontalPodAutoscalerBehavior) -> HorizontalPodAutoscalerBehavior:
    up, down = behavior.scale_up, behavior.scale_down
    return HorizontalPodAutoscalerBehavior(
        scale_up=_rules(up, UP) if up else UP, scale_down=_rules(down, DOWN) if down else DOWN
    )


def _rules(given: HPAScalingRules, usual: HPAScalingRules) -> HPAScalingRules:
    window = given.stabilization_window_seconds
    return replace(
        given,
        stabilization_window_seconds=(
            usual.stabilization_window_seconds if window is None else window
        ),
        select_policy=given.select_policy or usual.select_policy,
        policies=given.policies or usual.policies,
    )


def cells(obj: HorizontalPodAutoscaler, now: datetime) -> Cells:
    ref = obj.spec.scale_target_ref or CrossVersionObjectReference()
    least = obj.spec.min_replicas
    return [
        obj.metadata.name,
        f"{ref.kind}/{ref.name}",
        _targets(obj),
        UNSET if least is None else str(least),
        str(obj.spec.max_replicas or 0),
        str(obj.status.current_replicas or 0),
        age(obj.metadata.creation_timestamp, now),
    ]


def _targets(obj: HorizontalPodAutoscaler) -> str:
    shown = list(_metrics(obj))
    if not shown:
        return NONE
    text = ", ".join(shown[:_SHOWN])
    return f"{text} + {len(shown) - _SHOWN} more..." if len(shown) > _SHOWN else text


def _metrics(obj: HorizontalPodAutoscaler) -> Iterator[str]:
    seen = obj.status.current_metrics
    for index, metric in enumerate(obj.spec.metrics):
        yield _metric(metric, seen[index] if index < len(seen) else MetricStatus())


def _metric(spec: MetricSpec, seen: MetricStatus) -> str:
    """`cpu: 12%/80%`: what is, and what should be."""
    if spec.resource:
        return _resource(spec.resource, seen.resource.current if seen.resource else None)
    if inner := spec.container_resource:
        found = seen.container_resource
        return _resource(inner, found.current if found else None)
    if spec.external:
        return _value(spec.external, seen.external.current if seen.external else None)
    if spec.object:
        return _value(spec.object, seen.object.current if seen.object else None)
    if spec.pods:
        now = seen.pods.current if seen.pods else None
        wanted = (spec.pods.target or MetricTarget()).average_value
        return f"{(now and now.average_value) or UNKNOWN}/{wanted}"
    return "<unknown type>"


def _resource(
    source: ResourceMetricSource | ContainerResourceMetricSource, now: MetricValueStatus | None
) -> str:
    now, target = now or MetricValueStatus(), source.target or MetricTarget()
    if target.average_value != "":
        return f"{source.name}: {now.average_value or UNKNOWN}/{target.average_value}"
    share = now.average_utilization
    current = UNKNOWN if share is None else f"{share}%"
    wanted = target.average_utilization
    return f"{source.name}: {current}/" + ("<auto>" if wanted is None else f"{wanted}%")


def _value(source: ExternalMetricSource | ObjectMetricSource, now: MetricValueStatus | None) -> str:
    now, target = now or MetricValueStatus(), source.target or MetricTarget()
    if target.average_value != "":
        return f"{now.average_value or UNKNOWN}/{target.average_value} (avg)"
    return f"{now.value or UNKNOWN}/{target.value}"


KIND = Kind(
    resource=resource_for(HorizontalPodAutoscaler),
    columns=columns("Name Reference Targets MinPods MaxPods Replicas Age"),
    cells=cells,
    default=default,
    on_create=fresh_status(lambda: HorizontalPodAutoscalerStatus(desired_replicas=0)),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_autoscaler,
    validate_status=validate_autoscaler_status,
    subresources=(STATUS,),
)
