"""HorizontalPodAutoscalers as autoscaling/v1 has them: one number for CPU. Pure.

What v1 has no field for lies in annotations, as upstream's conversion puts it there, so that an
object read and written in v1 loses nothing. What is in them is v2's JSON.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from kube.api import autoscaling, autoscaling_v2
from kube.api.autoscaling_v2 import (
    HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerCondition,
    MetricSpec,
    MetricStatus,
    MetricTarget,
    ResourceMetricSource,
)
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import value_or
from master.apiserver.kinds.autoscaling import horizontalpodautoscaler as v2
from master.apiserver.kinds.columns import Cells
from master.apiserver.kinds.kind import Conversion, Kind
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.metadata import with_meta

_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, BEHAVIOR = f"{_PREFIX}metrics", f"{_PREFIX}behavior"
CONDITIONS, CURRENT = f"{_PREFIX}conditions", f"{_PREFIX}current-metrics"
_OWN = (METRICS, BEHAVIOR, CONDITIONS, CURRENT)
_SPECS, _STATUSES = tuple[MetricSpec, ...], tuple[MetricStatus, ...]
_CONDITIONS = tuple[HorizontalPodAutoscalerCondition, ...]


def default(obj: autoscaling.HorizontalPodAutoscaler) -> autoscaling.HorizontalPodAutoscaler:
    return replace(obj, spec=replace(obj.spec, min_replicas=value_or(obj.spec.min_replicas, 1)))


def to_stored(
    obj: autoscaling.HorizontalPodAutoscaler,
) -> autoscaling_v2.HorizontalPodAutoscaler:
    said, spec, status = obj.metadata.annotations, obj.spec, obj.status
    cpu = spec.target_cpu_utilization_percentage
    metrics = _read(said, METRICS, _SPECS, ())
    if cpu is not None:
        target = MetricTarget(type="Utilization", average_utilization=cpu)
        one = MetricSpec(type="Resource", resource=ResourceMetricSource(name="cpu", target=target))
        metrics = (one, *metrics)
    ref = spec.scale_target_ref
    made = autoscaling_v2.HorizontalPodAutoscaler(
        metadata=obj.metadata,
        spec=autoscaling_v2.HorizontalPodAutoscalerSpec(
            behavior=_read(said, BEHAVIOR, HorizontalPodAutoscalerBehavior, None),
            max_replicas=spec.max_replicas,
            metrics=metrics,
            min_replicas=spec.min_replicas,
            scale_target_ref=None
            if ref is None
            else autoscaling_v2.CrossVersionObjectReference(
                api_version=ref.api_version, kind=ref.kind, name=ref.name
            ),
        ),
        status=autoscaling_v2.HorizontalPodAutoscalerStatus(
            conditions=_read(said, CONDITIONS, _CONDITIONS, ()),
            current_metrics=_read(said, CURRENT, _STATUSES, ()),
            current_replicas=status.current_replicas,
            desired_replicas=status.desired_replicas,
            last_scale_time=status.last_scale_time,
            observed_generation=status.observed_generation,
        ),
    )
    others = {key: value for key, value in said.items() if key not in _OWN}
    return v2.default(with_meta(made, annotations=others))


def _read(said: dict[str, str], key: str, type_: Any, otherwise: Any) -> Any:
    """What an annotation holds; a text that is something else says nothing."""
    try:
        return msgspec.json.decode(said[key], type=type_) if key in said else otherwise
    except msgspec.MsgspecError:
        return otherwise


def from_stored(
    obj: autoscaling_v2.HorizontalPodAutoscaler,
) -> autoscaling.HorizontalPodAutoscaler:
    spec, status, ref = obj.spec, obj.status, obj.spec.scale_target_ref
    cpu = next((i for i, metric in enumerate(spec.metrics) if _is_cpu(metric)), None)
    others = tuple(metric for i, metric in enumerate(spec.metrics) if i != cpu)
    said = dict(obj.metadata.annotations)
    for key, value in (
        (METRICS, others),
        (BEHAVIOR, spec.behavior),
        (CONDITIONS, status.conditions),
        (CURRENT, status.current_metrics),
    ):
        if value:
            said[key] = msgspec.json.encode(value).decode()
    return autoscaling.HorizontalPodAutoscaler(
        metadata=replace(obj.metadata, annotations=said),
        spec=autoscaling.HorizontalPodAutoscalerSpec(
            max_replicas=spec.max_replicas,
            min_replicas=spec.min_replicas,
            scale_target_ref=None
            if ref is None
            else autoscaling.CrossVersionObjectReference(
                api_version=ref.api_version, kind=ref.kind, name=ref.name
            ),
            target_cpu_utilization_percentage=None
            if cpu is None
            else _utilization(spec.metrics[cpu]),
        ),
        status=autoscaling.HorizontalPodAutoscalerStatus(
            current_cpu_utilization_percentage=_current(status.current_metrics),
            current_replicas=status.current_replicas,
            desired_replicas=status.desired_replicas,
            last_scale_time=status.last_scale_time,
            observed_generation=status.observed_generation,
        ),
    )


def _is_cpu(metric: MetricSpec) -> bool:
    return _utilization(metric) is not None


def _utilization(metric: MetricSpec) -> int | None:
    source = metric.resource
    if source is None or source.name != "cpu" or source.target is None:
        return None
    return source.target.average_utilization


def _current(metrics: tuple[MetricStatus, ...]) -> int | None:
    for metric in metrics:
        if metric.resource and metric.resource.name == "cpu" and metric.resource.current:
            return metric.resource.current.average_utilization
    return None


def cells(obj: autoscaling.HorizontalPodAutoscaler, now: datetime) -> Cells:
    return v2.cells(to_stored(obj), now)


KIND = Kind(
    resource=resource_for(autoscaling.HorizontalPodAutoscaler),
    columns=v2.KIND.columns,
    cells=cells,
    default=default,
    subresources=(STATUS,),
    conversion=Conversion(kind=v2.KIND, to_stored=to_stored, from_stored=from_stored),
)
