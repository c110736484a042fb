"""The subresources that are more than a part of their object: binding, scale. Pure edits."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.apps import Deployment, ReplicaSet
from kube.api.autoscaling import Scale, ScaleSpec, ScaleStatus
from kube.api.core import Binding, Pod, PodCondition
from kube.api.meta import LabelSelector, ObjectMeta, StatusCause
from kube.machinery.errors import BadRequest, Conflict, conflict, invalid
from kube.machinery.scheme import ApiObject
from kube.machinery.selectors import from_label_selector
from master.apiserver.registry.metadata import timestamp, with_meta


def bind(pod: Pod, binding: Binding, now: datetime) -> Pod:
    """The pod assigned to the binding's node. Raises Conflict when it cannot be any more."""
    node = binding.target.name if binding.target else ""
    if not node:
        cause = StatusCause(
            field="target.name", message="Required value", reason="FieldValueRequired"
        )
        raise invalid("Binding", "", pod.metadata.name, [cause])
    if binding.metadata.uid and binding.metadata.uid != pod.metadata.uid:
        raise _refused(
            pod,
            f"Precondition failed: UID in precondition: {binding.metadata.uid}, "
            f"UID in object meta: {pod.metadata.uid}",
        )
    if pod.metadata.deletion_timestamp:
        raise _refused(
            pod, f"pod {pod.metadata.name} is being deleted, cannot be assigned to a host"
        )
    if pod.spec.node_name:
        raise _refused(
            pod, f'pod {pod.metadata.name} is already assigned to node "{pod.spec.node_name}"'
        )
    condition = PodCondition(
        type="PodScheduled", status="True", last_transition_time=timestamp(now)
    )
    others = tuple(c for c in pod.status.conditions if c.type != "PodScheduled")
    bound = replace(
        pod,
        spec=replace(pod.spec, node_name=node),
        status=replace(pod.status, conditions=(*others, condition)),
    )
    return with_meta(
        bound, annotations={**pod.metadata.annotations, **binding.metadata.annotations}
    )


def _refused(pod: Pod, why: str) -> Conflict:
    return conflict("pods/binding", "", pod.metadata.name, why)


Scalable = Deployment | ReplicaSet


def scale_of(obj: ApiObject) -> Scale:
    """The Scale that stands for a Deployment or ReplicaSet."""
    scalable = _scalable(obj)
    meta = scalable.metadata
    return Scale(
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            resource_version=meta.resource_version,
            creation_timestamp=meta.creation_timestamp,
        ),
        spec=ScaleSpec(replicas=scalable.spec.replicas or 0),
        status=ScaleStatus(
            replicas=scalable.status.replicas or 0, selector=_selector_text(scalable.spec.selector)
        ),
    )


def with_scale(obj: ApiObject, scale: Scale) -> ApiObject:
    """The object with the scale's replicas; the scale's resourceVersion stays a precondition."""
    scalable = _scalable(obj)
    replicas = scale.spec.replicas or 0
    if replicas < 0:
        cause = StatusCause(
            field="spec.replicas",
            message=f"Invalid value: {replicas}: must be greater than or equal to 0",
            reason="FieldValueInvalid",
        )
        raise invalid("Scale", "autoscaling", scale.metadata.name, [cause])
    meta = replace(
        scalable.metadata, resource_version=scale.metadata.resource_version, uid=scale.metadata.uid
    )
    if isinstance(scalable, Deployment):
        return replace(scalable, metadata=meta, spec=replace(scalable.spec, replicas=replicas))
    return replace(scalable, metadata=meta, spec=replace(scalable.spec, replicas=replicas))


def _scalable(obj: ApiObject) -> Scalable:
    if not isinstance(obj, Deployment | ReplicaSet):
        raise BadRequest(f"{type(obj).__name__} has no scale")
    return obj


def _selector_text(selector: LabelSelector | None) -> str:
    parsed = from_label_selector(selector)
    if parsed is None:
        return ""
    parts = []
    for requirement in parsed.requirements:
        values = sorted(requirement.values)
        match requirement.operator:
            case "In" if len(values) == 1:
                parts.append(f"{requirement.key}={values[0]}")
            case "In" | "NotIn":
                parts.append(
                    f"{requirement.key} {requirement.operator.lower()} ({','.join(values)})"
                )
            case "Exists":
                parts.append(requirement.key)
            case _:
                parts.append(f"!{requirement.key}")
    return ",".join(parts)
