"""Pods: mostly immutable spec, graceful deletion, QoS class. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kube.api.core import (
    Container,
    ContainerState,
    ContainerStatus,
    Pod,
    PodSpec,
    PodStatus,
)
from kube.api.meta import DeleteOptions
from kube.machinery import qos
from kube.machinery.scheme import resource_for
from kube.machinery.times import parse_time
from master.apiserver.kinds.cell import NONE, age, human_duration
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.core.podspec import default_pod_spec
from master.apiserver.kinds.fields import Fields, Part, text
from master.apiserver.kinds.kind import Causes, Kind, keep_status, spec_of
from master.apiserver.kinds.parts.pods import ATTACH, BINDING, EVICTION, EXEC, LOG
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.network import validate_pod_status
from master.apiserver.registry.validation.pod import validate_pod, validate_pod_update

DEFAULT_GRACE_SECONDS = 30
_EMPTY = ContainerState()


def on_create(obj: Pod) -> Pod:
    return replace(obj, status=PodStatus(phase="Pending", qos_class=qos_class(obj.spec)))


def default(obj: Pod) -> Pod:
    """Beside what every PodSpec gets, what those of templates do not."""
    spec = default_pod_spec(obj.spec)
    links = True if spec.enable_service_links is None else spec.enable_service_links
    spec = replace(
        spec,
        enable_service_links=links,
        containers=tuple(_requests_from_limits(c) for c in spec.containers),
        init_containers=tuple(_requests_from_limits(c) for c in spec.init_containers),
    )
    return replace(obj, spec=spec)


def on_status(new: Pod, old: Pod) -> Pod:
    # The QoS class is fixed at creation; a kubelet that leaves it out does not clear it.
    status = replace(new.status, qos_class=new.status.qos_class or old.status.qos_class)
    kept = replace(new.metadata, owner_references=old.metadata.owner_references)
    return replace(new, metadata=kept, spec=old.spec, status=status)


def validate_status(obj: Pod) -> Causes:
    return validate_pod_status(obj.status)


def grace_seconds(obj: Pod, options: DeleteOptions) -> int | None:
    """A pod that no kubelet runs, or that has ended, needs no time."""
    if not obj.spec.node_name or obj.status.phase in ("Succeeded", "Failed"):
        return 0
    if options.grace_period_seconds is not None:
        return max(options.grace_period_seconds, 0)
    grace = obj.spec.termination_grace_period_seconds
    return DEFAULT_GRACE_SECONDS if grace is None else grace


def _requests_from_limits(container: Container) -> Container:
    """A limit without a request is also the request (SetDefaults_Pod)."""
    resources = container.resources
    if resources is None or not resources.limits:
        return container
    return replace(
        container,
        resources=replace(resources, requests={**resources.limits, **resources.requests}),
    )


def qos_class(spec: PodSpec) -> str:
    """That of the spec; what has no quantities that can be read is refused by validation."""
    try:
        return qos.qos_class(spec)
    except ValueError:
        return qos.BEST_EFFORT


# what field selectors see


class _PodSpec(Struct, rename="camel", frozen=True):
    node_name: str = ""
    scheduler_name: str = ""
    restart_policy: str = ""
    service_account_name: str = ""
    host_network: bool = False


class _PodStatus(Struct, rename="camel", frozen=True):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    nominated_node_name: str = ""


class _Pod(Part, rename="camel", frozen=True):
    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()


def selectable(pod: _Pod) -> dict[str, str]:
    return {
        "spec.nodeName": pod.spec.node_name,
        "spec.restartPolicy": pod.spec.restart_policy,
        "spec.schedulerName": pod.spec.scheduler_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "spec.hostNetwork": text(pod.spec.host_network),
        "status.phase": pod.status.phase,
        "status.podIP": pod.status.pod_ip,
        "status.nominatedNodeName": pod.status.nominated_node_name,
    }


# what `kubectl get` shows


def cells(obj: Pod, now: datetime) -> Cells:
    statuses = obj.status.container_statuses
    sidecars = {c.name for c in obj.spec.init_containers if c.restart_policy == "Always"}
    counted = [s for s in obj.status.init_container_statuses if s.name in sidecars] + list(statuses)
    total = len(obj.spec.containers) + len(sidecars)
    ready = sum(1 for s in counted if s.ready and (s.state or _EMPTY).running)
    return [
        obj.metadata.name,
        f"{ready}/{total}",
        _status(obj),
        _restarts(obj, now),
        age(obj.metadata.creation_timestamp, now),
        obj.status.pod_ip or NONE,
        obj.spec.node_name or NONE,
        obj.status.nominated_node_name or NONE,
        _gates(obj),
    ]


def _status(obj: Pod) -> str:
    reason = obj.status.reason or obj.status.phase
    for condition in obj.status.conditions:
        if condition.type == "PodScheduled" and condition.reason == "SchedulingGated":
            reason = "SchedulingGated"
    reason = _init_reason(obj) or _main_reason(obj, reason)
    if obj.metadata.deletion_timestamp and obj.status.reason == "NodeLost":
        return "Unknown"
    if obj.metadata.deletion_timestamp and obj.status.phase not in ("Failed", "Succeeded"):
        return "Terminating"
    return reason


def _init_reason(obj: Pod) -> str:
    """`Init:0/2`, `Init:Error`, ... while an init container has work to do; else ""."""
    specs = {c.name: c for c in obj.spec.init_containers}
    for index, status in enumerate(obj.status.init_container_statuses):
        state = status.state or _EMPTY
        spec = specs.get(status.name)
        if state.terminated and not state.terminated.exit_code:
            continue
        if spec and spec.restart_policy == "Always" and status.started:
            continue
        if state.terminated:
            return f"Init:{_ended(state)}"
        if state.waiting and state.waiting.reason not in ("", "PodInitializing"):
            return f"Init:{state.waiting.reason}"
        return f"Init:{index}/{len(specs)}"
    return ""


def _ended(state: ContainerState) -> str:
    ended = state.terminated
    assert ended is not None
    if ended.reason:
        return ended.reason
    return f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exit_code or 0}"


def _main_reason(obj: Pod, reason: str) -> str:
    running = False
    for status in reversed(obj.status.container_statuses):
        state = status.state or _EMPTY
        if state.waiting and state.waiting.reason:
            reason = state.waiting.reason
        elif state.terminated:
            reason = _ended(state)
        elif status.ready and state.running:
            running = True
    if reason == "Completed" and running:
        ready = any(c.type == "Ready" and c.status == "True" for c in obj.status.conditions)
        return "Running" if ready else "NotReady"
    return reason


def _restarts(obj: Pod, now: datetime) -> str:
    statuses: tuple[ContainerStatus, ...] = obj.status.container_statuses
    count = sum(s.restart_count or 0 for s in statuses)
    ends = [
        when
        for s in statuses
        if s.last_state
        and s.last_state.terminated
        and (when := parse_time(s.last_state.terminated.finished_at))
    ]
    if not count or not ends:
        return str(count)
    return f"{count} ({human_duration((now - max(ends)).total_seconds())} ago)"


def _gates(obj: Pod) -> str:
    gates = obj.spec.readiness_gates
    if not gates:
        return NONE
    true = {c.type for c in obj.status.conditions if c.status == "True"}
    return f"{sum(1 for gate in gates if gate.condition_type in true)}/{len(gates)}"


KIND = Kind(
    resource=resource_for(Pod),
    watched_by="spec.nodeName",
    columns=columns("Name Ready Status Restarts Age IP+ Node+ Nominated_Node+ Readiness_Gates+"),
    cells=cells,
    fields=Fields(_Pod, selectable),
    default=default,
    on_create=on_create,
    on_update=keep_status,
    on_status=on_status,
    validate=validate_pod,
    validate_update=validate_pod_update,
    validate_status=validate_status,
    counted=spec_of,
    grace_seconds=grace_seconds,
    answers_deleted=True,
    subresources=(STATUS, BINDING, EVICTION, LOG, EXEC, ATTACH),
)
