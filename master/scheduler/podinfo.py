"""A pod as the scheduler sees it: what it asks for, parsed once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kube.api.base import Quantity
from kube.api.core import Container, NodeSelector, Pod, Toleration
from kube.machinery.quantity import milli, whole
from kube.machinery.scheme import key_of

CPU, MEMORY, PODS = "cpu", "memory", "pods"
# What a container without requests is taken to need when nodes are compared
# (upstream's DefaultMilliCPURequest and DefaultMemoryRequest).
DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024

Port = tuple[str, str, int]  # protocol, host IP, host port


@dataclass(frozen=True, slots=True, eq=False)
class PodInfo:
    """`requests` are in thousandths for CPU, else in units."""

    pod: Pod
    key: str
    uid: str
    namespace: str
    labels: Mapping[str, str]
    requests: Mapping[str, int]
    scoring_cpu: int
    scoring_memory: int
    ports: tuple[Port, ...]
    tolerations: tuple[Toleration, ...]
    images: tuple[str, ...] = ()
    controller_uid: str = ""
    required_affinity: NodeSelector | None = field(default=None)

    @property
    def deleting(self) -> bool:
        return bool(self.pod.metadata.deletion_timestamp)


def pod_info(pod: Pod) -> PodInfo:
    spec, meta = pod.spec, pod.metadata
    affinity = spec.affinity.node_affinity if spec.affinity is not None else None
    containers = (*spec.containers, *spec.init_containers)
    return PodInfo(
        pod=pod,
        key=key_of(pod),
        uid=meta.uid,
        namespace=meta.namespace,
        labels=meta.labels,
        requests=pod_requests(pod),
        scoring_cpu=_scoring(spec.containers, CPU, DEFAULT_MILLI_CPU),
        scoring_memory=_scoring(spec.containers, MEMORY, DEFAULT_MEMORY),
        ports=_host_ports(spec.containers),
        tolerations=spec.tolerations,
        images=tuple(container.image for container in containers if container.image),
        controller_uid=next((r.uid for r in meta.owner_references if r.controller), ""),
        required_affinity=(
            affinity.required_during_scheduling_ignored_during_execution if affinity else None
        ),
    )


def amounts(quantities: Mapping[str, Quantity]) -> dict[str, int]:
    return {
        name: milli(value) if name == CPU else whole(value) for name, value in quantities.items()
    }


def pod_requests(pod: Pod) -> dict[str, int]:
    """The larger of what runs together and what init containers need in their turn.

    Sidecars (init containers with restartPolicy Always) run on beside everything that
    starts after them (KEP-753).
    """
    together: dict[str, int] = {}
    for container in pod.spec.containers:
        _add(together, _requests(container))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.init_containers:
        if container.restart_policy == "Always":
            _add(sidecars, _requests(container))
            _raise_to(peak, sidecars)
        else:
            need = dict(sidecars)
            _add(need, _requests(container))
            _raise_to(peak, need)
    _add(together, sidecars)
    _raise_to(together, peak)
    _add(together, amounts(pod.spec.overhead))
    return together


def _requests(container: Container) -> dict[str, int]:
    return amounts(container.resources.requests) if container.resources is not None else {}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(total: dict[str, int], other: Mapping[str, int]) -> None:
    for name, amount in other.items():
        total[name] = max(total.get(name, 0), amount)


def _scoring(containers: Iterable[Container], resource: str, default: int) -> int:
    return sum(_requests(container).get(resource, default) for container in containers)


def _host_ports(containers: Iterable[Container]) -> tuple[Port, ...]:
    return tuple(
        (port.protocol or "TCP", port.host_ip or "0.0.0.0", port.host_port)  # noqa: S104 - all of them
        for container in containers
        for port in container.ports
        if port.host_port
    )
