"""The subresources of Pods: binding, eviction, and the streams. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from kube.api.core import Binding, Pod, PodCondition
from kube.api.meta import DeleteOptions, StatusCause
from kube.api.policy import Eviction
from kube.machinery.errors import Conflict, conflict, invalid
from master.apiserver.kinds.parts.subresource import Subresource
from master.apiserver.registry.metadata import with_meta


def bind(pod: Pod, binding: Binding, now: str) -> Pod:
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
    condition = PodCondition(type="PodScheduled", status="True", last_transition_time=now)
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


def asked_options(eviction: Eviction) -> DeleteOptions:
    """Without PodDisruptionBudgets every eviction is granted."""
    return eviction.delete_options or DeleteOptions()


_STREAM = ("create", "get")
BINDING = Subresource(name="binding", verbs=("create",), body=Binding, kind="Binding", edit=bind)
EVICTION = Subresource(
    name="eviction",
    verbs=("create",),
    body=Eviction,
    kind="Eviction",
    group="policy",
    version="v1",
    delete=asked_options,
)
LOG = Subresource(name="log", verbs=("get",), connect=True)
EXEC = Subresource(name="exec", verbs=_STREAM, kind="PodExecOptions", connect=True)
ATTACH = Subresource(name="attach", verbs=_STREAM, kind="PodAttachOptions", connect=True)
