"""HorizontalPodAutoscalers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.autoscaling_v2 import HorizontalPodAutoscaler
from master.statemetrics.family import Family, Sample, StateKind, plain, statuses
from master.statemetrics.metadata import created, deleted, generation, identity


def _info(autoscaler: HorizontalPodAutoscaler) -> Iterable[Sample]:
    target = autoscaler.spec.scale_target_ref
    labels = {
        "scaletargetref_api_version": target.api_version if target else "",
        "scaletargetref_kind": target.kind if target else "",
        "scaletargetref_name": target.name if target else "",
    }
    return ((labels, 1),)


def _conditions(autoscaler: HorizontalPodAutoscaler) -> Iterable[Sample]:
    for condition in autoscaler.status.conditions:
        yield from statuses(condition.status, condition=condition.type)


KIND = StateKind(
    "horizontalpodautoscalers",
    HorizontalPodAutoscaler,
    identity("horizontalpodautoscaler"),
    (
        Family("kube_horizontalpodautoscaler_info", "An autoscaler.", _info),
        created("kube_horizontalpodautoscaler"),
        deleted("kube_horizontalpodautoscaler"),
        generation("kube_horizontalpodautoscaler"),
        plain(
            "kube_horizontalpodautoscaler_spec_max_replicas",
            "Pods at most.",
            lambda hpa: hpa.spec.max_replicas or 0,
        ),
        plain(
            "kube_horizontalpodautoscaler_spec_min_replicas",
            "Pods at least.",
            lambda hpa: 1 if hpa.spec.min_replicas is None else hpa.spec.min_replicas,
        ),
        plain(
            "kube_horizontalpodautoscaler_status_current_replicas",
            "Pods now.",
            lambda hpa: hpa.status.current_replicas or 0,
        ),
        plain(
            "kube_horizontalpodautoscaler_status_desired_replicas",
            "Pods that it wants.",
            lambda hpa: hpa.status.desired_replicas or 0,
        ),
        Family(
            "kube_horizontalpodautoscaler_status_condition",
            "The autoscaler's conditions.",
            _conditions,
        ),
    ),
)
