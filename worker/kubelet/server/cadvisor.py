"""`/metrics/cadvisor` from the runtime's CRI stats and the kernel's counters.

Names and labels are cAdvisor's, as kubernetes-mixin's rules read them: container rows carry
`container` and `image`, the pod's row (network, cgroup total) has no container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.pod import names
from worker.kubelet.server.kernelstats import ContainerCounters, DiskUse, InterfaceCounters

_LABELS = ("container", "id", "image", "name", "namespace", "pod")
_DISK_LABELS = (*_LABELS, "device")
_NET_LABELS = ("id", "image", "interface", "name", "namespace", "pod")


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod's identity and what its network interfaces have counted."""

    namespace: str
    name: str
    uid: str
    sandbox_id: str = ""
    interfaces: Sequence[InterfaceCounters] = ()


@dataclass(frozen=True, slots=True)
class MachineUse:
    """What all of the machine has used: cAdvisor's row of the root cgroup."""

    cpu_seconds: float
    working_set_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading of the runtime and the kernel."""

    containers: Sequence[cri.ContainerStats]
    sandboxes: Sequence[cri.PodSandboxStats] = ()
    images: Mapping[str, str] = field(default_factory=dict)  # container id -> image name
    counters: Mapping[str, ContainerCounters] = field(default_factory=dict)  # by container id
    pods: Sequence[PodRow] = ()
    machine: MachineUse | None = None


Reader = Callable[[cri.ContainerStats, ContainerCounters], float]


def _usage(stats: cri.ContainerStats, _: ContainerCounters) -> float:
    memory = stats.memory
    return memory.usage_bytes.value or memory.working_set_bytes.value


# name, is it a counter, help, where the value comes from
_CONTAINER_ROWS: tuple[tuple[str, bool, str, Reader], ...] = (
    ("container_cpu_usage_seconds", True, "Cumulative CPU seconds.",
     lambda s, _: s.cpu.usage_core_nano_seconds.value / 1e9),
    ("container_cpu_cfs_periods", True, "Elapsed enforcement periods.",
     lambda _, k: k.periods),
    ("container_cpu_cfs_throttled_periods", True, "Throttled periods.",
     lambda _, k: k.throttled_periods),
    ("container_cpu_cfs_throttled_seconds", True, "Seconds throttled.",
     lambda _, k: k.throttled_seconds),
    ("container_memory_usage_bytes", False, "Memory in use.", _usage),
    ("container_memory_working_set_bytes", False, "Memory that cannot be reclaimed.",
     lambda s, _: s.memory.working_set_bytes.value),
    ("container_memory_rss", False, "Anonymous memory.",
     lambda s, _: s.memory.rss_bytes.value),
    ("container_memory_cache", False, "Page cache.", lambda _, k: k.cache_bytes),
    ("container_memory_swap", False, "Swap in use.",
     lambda s, _: s.swap.swap_usage_bytes.value),
)  # fmt: skip

_DISK_ROWS: tuple[tuple[str, str, Callable[[DiskUse], int]], ...] = (
    ("container_fs_reads", "Completed reads.", lambda d: d.reads),
    ("container_fs_reads_bytes", "Bytes read.", lambda d: d.read_bytes),
    ("container_fs_writes", "Completed writes.", lambda d: d.writes),
    ("container_fs_writes_bytes", "Bytes written.", lambda d: d.written_bytes),
)

_NETWORK_ROWS: tuple[tuple[str, str, Callable[[InterfaceCounters], int]], ...] = (
    ("container_network_receive_bytes", "Bytes received.", lambda i: i.received_bytes),
    ("container_network_receive_packets", "Packets received.", lambda i: i.received_packets),
    ("container_network_receive_errors", "Receive errors.", lambda i: i.received_errors),
    ("container_network_receive_packets_dropped", "Received packets dropped.",
     lambda i: i.received_dropped),
    ("container_network_transmit_bytes", "Bytes sent.", lambda i: i.sent_bytes),
    ("container_network_transmit_packets", "Packets sent.", lambda i: i.sent_packets),
    ("container_network_transmit_errors", "Send errors.", lambda i: i.sent_errors),
    ("container_network_transmit_packets_dropped", "Sent packets dropped.",
     lambda i: i.sent_dropped),
)  # fmt: skip


def families(snapshot: Snapshot) -> Iterable[Metric]:
    nothing = ContainerCounters()
    rows = [
        (_container_labels(stats, snapshot.images), stats,
         snapshot.counters.get(stats.attributes.id, nothing))
        for stats in snapshot.containers
    ]  # fmt: skip
    for name, is_counter, text, read in _CONTAINER_ROWS:
        family = _family(name, text, is_counter)
        for labels, stats, counters in rows:
            family.add_metric(labels, read(stats, counters))
        _add_pod_totals(name, family, snapshot.sandboxes)
        _add_machine(name, family, snapshot.machine)
        yield family
    for name, text, disk_value in _DISK_ROWS:
        disk_family = CounterMetricFamily(name, text, labels=_DISK_LABELS)
        for labels, _, counters in rows:
            for device, use in counters.disks.items():
                disk_family.add_metric([*labels, device], disk_value(use))
        yield disk_family
    yield from _network(snapshot.pods)


def _family(name: str, text: str, is_counter: bool) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if is_counter else GaugeMetricFamily
    return kind(name, text, labels=_LABELS)


def _add_pod_totals(
    name: str,
    family: CounterMetricFamily | GaugeMetricFamily,
    sandboxes: Iterable[cri.PodSandboxStats],
) -> None:
    """The pod's own cgroup, where the runtime tells about it."""
    for sandbox in sandboxes:
        meta, linux = sandbox.attributes.metadata, sandbox.linux
        labels = ["", f"/kubepods/pod{meta.uid}", "", sandbox.attributes.id,
                  meta.namespace, meta.name]  # fmt: skip
        if name == "container_cpu_usage_seconds":
            family.add_metric(labels, linux.cpu.usage_core_nano_seconds.value / 1e9)
        elif name == "container_memory_working_set_bytes":
            family.add_metric(labels, linux.memory.working_set_bytes.value)


def _add_machine(
    name: str, family: CounterMetricFamily | GaugeMetricFamily, machine: MachineUse | None
) -> None:
    if machine is None:
        return
    labels = ["", "/", "", "", "", ""]
    if name == "container_cpu_usage_seconds":
        family.add_metric(labels, machine.cpu_seconds)
    elif name == "container_memory_working_set_bytes":
        family.add_metric(labels, machine.working_set_bytes)


def _container_labels(stats: cri.ContainerStats, images: Mapping[str, str]) -> list[str]:
    attributes = stats.attributes
    labels = attributes.labels
    return [
        labels.get(names.CONTAINER_NAME, attributes.metadata.name),
        f"/kubepods/pod{labels.get(names.POD_UID, '')}/{attributes.id}",
        images.get(attributes.id, ""),
        attributes.id,
        labels.get(names.POD_NAMESPACE, ""),
        labels.get(names.POD_NAME, ""),
    ]


def _network(pods: Iterable[PodRow]) -> Iterable[Metric]:
    for name, text, read in _NETWORK_ROWS:
        family = CounterMetricFamily(name, text, labels=_NET_LABELS)
        for pod in pods:
            for interface in pod.interfaces:
                labels = [f"/kubepods/pod{pod.uid}", "", interface.name, pod.sandbox_id,
                          pod.namespace, pod.name]  # fmt: skip
                family.add_metric(labels, read(interface))
        yield family
