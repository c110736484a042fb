"""The Node object: what a machine registers as and reports. Pure.

Follows upstream's `nodestatus/setters.go` and `kubelet_node_status.go`, whose reasons and
messages people and alerts read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from kube.api import core
from kube.api.base import Quantity
from kube.api.meta import ObjectMeta
from kube.component.version import GIT_VERSION
from kube.machinery.times import format_seconds

# What status.images holds at most, largest first (upstream's nodeStatusMaxImages).
MAX_IMAGES = 50
# Upstream's baseRuntimeSyncThreshold.
RUNTIME_SILENCE_SECONDS = 30.0


class RuntimeSeen:
    """When the runtime last answered (upstream's runtimeState). Pure.

    A runtime that restarts leaves its containers running: the node is NotReady, and its pods
    are driven out, only after a silence of half a minute, or before the very first answer.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def answered(self, now: float) -> None:
        self._last = now

    def is_down(self, now: float) -> bool:
        return self._last is None or now - self._last > RUNTIME_SILENCE_SECONDS


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """All that goes into the status, measured by the shell."""

    name: str
    ip: str
    port: int
    architecture: str
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    max_pods: int
    system: core.NodeSystemInfo
    runtime_version: str
    images: tuple[core.ContainerImage, ...] = ()
    problems: tuple[str, ...] = ()  # why the node is not ready; empty when it is
    memory_pressure: bool = False
    disk_pressure: bool = False
    pid_pressure: bool = False


def parse_taint(text: str) -> core.Taint:
    """`key=value:Effect` or `key:Effect`."""
    body, separator, effect = text.rpartition(":")
    key, _, value = body.partition("=")
    if not separator or not key or effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise ValueError(f'invalid taint "{text}", expected key=value:Effect')
    return core.Taint(key=key, value=value, effect=effect)


def parse_labels(text: str) -> dict[str, str]:
    """`a=b,c=d`"""
    pairs = (item.partition("=") for item in text.split(",") if item)
    return {key.strip(): value.strip() for key, _, value in pairs}


def default_labels(name: str, architecture: str) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture,
    }


def new_node(
    facts: NodeFacts, labels: Mapping[str, str], taints: Sequence[core.Taint], endpoint: str
) -> core.Node:
    """The object to register."""
    return core.Node(
        metadata=ObjectMeta(
            name=facts.name,
            labels={**default_labels(facts.name, facts.architecture), **labels},
            annotations={
                "kubeadm.alpha.kubernetes.io/cri-socket": endpoint,
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        ),
        spec=core.NodeSpec(taints=tuple(taints)),
    )


def quantities(facts: NodeFacts) -> dict[str, Quantity]:
    cpu = facts.cpu_milli
    return {
        "cpu": str(cpu // 1000) if cpu % 1000 == 0 else f"{cpu}m",
        "memory": f"{facts.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{facts.disk_bytes // 1024}Ki",
        "pods": str(facts.max_pods),
    }


def node_status(node: core.Node, facts: NodeFacts, now: float) -> core.NodeStatus:
    """The whole status; what others own in it (volumes, their conditions) is kept."""
    capacity = quantities(facts)
    return msgspec.structs.replace(
        node.status,
        capacity=capacity,
        allocatable=capacity,
        addresses=(
            core.NodeAddress(type="InternalIP", address=facts.ip),
            core.NodeAddress(type="Hostname", address=facts.name),
        ),
        daemon_endpoints=core.NodeDaemonEndpoints(
            kubelet_endpoint=core.DaemonEndpoint(port=facts.port)
        ),
        node_info=msgspec.structs.replace(
            facts.system,
            architecture=facts.architecture,
            container_runtime_version=facts.runtime_version,
            kubelet_version=GIT_VERSION,
            kube_proxy_version=GIT_VERSION,
        ),
        images=largest(facts.images),
        conditions=_conditions(node, facts, now),
    )


def largest(images: Iterable[core.ContainerImage]) -> tuple[core.ContainerImage, ...]:
    ordered = sorted(images, key=lambda i: (-(i.size_bytes or 0), i.names))
    return tuple(ordered[:MAX_IMAGES])


def _conditions(node: core.Node, facts: NodeFacts, now: float) -> tuple[core.NodeCondition, ...]:
    ours = [
        _pressure("MemoryPressure", facts.memory_pressure, "Memory", "sufficient memory available"),
        _pressure("DiskPressure", facts.disk_pressure, "Disk", "no disk pressure"),
        _pressure("PIDPressure", facts.pid_pressure, "PID", "sufficient PID available"),
        _ready(facts),
    ]
    before = {c.type: c for c in node.status.conditions}
    stamped = [_stamp(c, before.get(c.type), now) for c in ours]
    types = {c.type for c in ours}
    return (*(c for c in node.status.conditions if c.type not in types), *stamped)


def _pressure(kind: str, pressed: bool, what: str, well: str) -> core.NodeCondition:
    if pressed:
        reason = {"Memory": "KubeletHasInsufficientMemory", "Disk": "KubeletHasDiskPressure"}
        message = {
            "Memory": "kubelet has insufficient memory available",
            "Disk": "kubelet has disk pressure",
            "PID": "kubelet has insufficient PID available",
        }[what]
        return core.NodeCondition(
            type=kind,
            status="True",
            reason=reason.get(what, "KubeletHasInsufficientPID"),
            message=message,
        )
    reasons = {"Memory": "KubeletHasSufficientMemory", "Disk": "KubeletHasNoDiskPressure"}
    return core.NodeCondition(
        type=kind,
        status="False",
        reason=reasons.get(what, "KubeletHasSufficientPID"),
        message=f"kubelet has {well}",
    )


def _ready(facts: NodeFacts) -> core.NodeCondition:
    if facts.problems:
        return core.NodeCondition(
            type="Ready",
            status="False",
            reason="KubeletNotReady",
            message="[" + ", ".join(facts.problems) + "]"
            if len(facts.problems) > 1
            else facts.problems[0],
        )
    return core.NodeCondition(
        type="Ready",
        status="True",
        reason="KubeletReady",
        message="kubelet is posting ready status",
    )


def _stamp(
    condition: core.NodeCondition, old: core.NodeCondition | None, now: float
) -> core.NodeCondition:
    changed = old is None or old.status != condition.status
    stamp = format_seconds(now)
    return msgspec.structs.replace(
        condition,
        last_heartbeat_time=stamp,
        last_transition_time=stamp if changed or old is None else old.last_transition_time,
    )


def differs(a: core.NodeStatus, b: core.NodeStatus) -> bool:
    """Whether two statuses differ in more than heartbeat times."""
    return _timeless(a) != _timeless(b)


def _timeless(status: core.NodeStatus) -> core.NodeStatus:
    conditions = [msgspec.structs.replace(c, last_heartbeat_time="") for c in status.conditions]
    return msgspec.structs.replace(status, conditions=tuple(conditions))
