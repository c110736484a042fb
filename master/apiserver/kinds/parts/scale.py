"""The scale of what has replicas: any kind with `spec.replicas` and a label selector. Pure."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from kube.api.autoscaling import Scale, ScaleSpec, ScaleStatus
from kube.api.meta import LabelSelector, ObjectMeta, StatusCause
from kube.machinery.errors import invalid
from kube.machinery.selectors import format_labels, from_label_selector
from master.apiserver.kinds.parts.subresource import Subresource


def scale_of(obj: Any) -> Scale:
    """The Scale that stands for the object."""
    selector = _selector_text(obj.spec.selector)
    return scale_for(obj.metadata, obj.spec.replicas or 0, obj.status.replicas or 0, selector)


def scale_for(meta: ObjectMeta, wanted: int, present: int, selector: str) -> Scale:
    return Scale(
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            resource_version=meta.resource_version,
            creation_timestamp=meta.creation_timestamp,
        ),
        spec=ScaleSpec(replicas=wanted),
        status=ScaleStatus(replicas=present, selector=selector),
    )


def with_scale(obj: Any, scale: Scale, _: str = "") -> Any:
    """The object with the scale's replicas."""
    meta = scaled_metadata(obj.metadata, scale)
    return replace(obj, metadata=meta, spec=replace(obj.spec, replicas=scale.spec.replicas or 0))


def scaled_metadata(meta: ObjectMeta, scale: Scale) -> ObjectMeta:
    """The object's metadata: the scale's resourceVersion stays a precondition. Raises Invalid."""
    replicas = scale.spec.replicas or 0
    if replicas < 0:
        cause = StatusCause(
            field="spec.replicas",
            message=f"Invalid value: {replicas}: must be greater than or equal to 0",
            reason="FieldValueInvalid",
        )
        raise invalid("Scale", "autoscaling", scale.metadata.name, [cause])
    given = scale.metadata
    return replace(meta, resource_version=given.resource_version, uid=given.uid)


def _selector_text(selector: LabelSelector | dict[str, str] | None) -> str:
    if isinstance(selector, dict):  # a ReplicationController's
        return format_labels(selector)
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


SCALE = Subresource(
    name="scale",
    body=Scale,
    kind="Scale",
    group="autoscaling",
    version="v1",
    read=scale_of,
    edit=with_scale,
    judged_whole=True,
)
