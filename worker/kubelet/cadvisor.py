"""`/metrics/cadvisor` and `/stats/summary` from the runtime's CRI stats.

Names and labels are cAdvisor's, as kubernetes-mixin's rules read them: container rows carry
`container` and `image`, the pod's row (network, cgroup total) has no container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from muster.cri import api_pb2 as cri
from worker.kubelet import names

_LABELS = ("container", "id", "image", "name", "namespace", "pod")
_NET_LABELS = ("id", "image", "interface", "name", "namespace", "pod")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading of the runtime."""

    containers: Sequence[cri.ContainerStats]
    sandboxes: Sequence[cri.PodSandboxStats]
    images: Mapping[str, str]  # container id -> image name


def families(snapshot: Snapshot) -> Iterable[Metric]:
    cpu = CounterMetricFamily(
        "container_cpu_usage_seconds", "Cumulative CPU seconds.", labels=_LABELS
    )
    usage = GaugeMetricFamily("container_memory_usage_bytes", "Memory in use.", labels=_LABELS)
    working = GaugeMetricFamily(
        "container_memory_working_set_bytes", "Memory that cannot be reclaimed.", labels=_LABELS
    )
    rss = GaugeMetricFamily("container_memory_rss", "Anonymous memory.", labels=_LABELS)
    cache = GaugeMetricFamily("container_memory_cache", "Page cache.", labels=_LABELS)
    swap = GaugeMetricFamily("container_memory_swap", "Swap in use.", labels=_LABELS)
    for stats in snapshot.containers:
        labels = _container_labels(stats, snapshot.images)
        seconds = stats.cpu.usage_core_nano_seconds.value / 1e9
        cpu.add_metric(labels, seconds)
        memory = stats.memory
        working.add_metric(labels, memory.working_set_bytes.value)
        used = memory.usage_bytes.value or memory.working_set_bytes.value
        usage.add_metric(labels, used)
        rss.add_metric(labels, memory.rss_bytes.value)
        cache.add_metric(labels, max(used - memory.rss_bytes.value, 0))
        swap.add_metric(labels, stats.swap.swap_usage_bytes.value)
    for sandbox in snapshot.sandboxes:
        labels = _pod_labels(sandbox)
        cpu.add_metric(labels, sandbox.linux.cpu.usage_core_nano_seconds.value / 1e9)
        working.add_metric(labels, sandbox.linux.memory.working_set_bytes.value)
    yield from (cpu, usage, working, rss, cache, swap)
    yield from _network(snapshot.sandboxes)


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


def _pod_labels(stats: cri.PodSandboxStats) -> list[str]:
    meta = stats.attributes.metadata
    return ["", f"/kubepods/pod{meta.uid}", "", stats.attributes.id, meta.namespace, meta.name]


def _network(sandboxes: Iterable[cri.PodSandboxStats]) -> Iterable[Metric]:
    rows = (
        ("container_network_receive_bytes", "rx_bytes", "Bytes received."),
        ("container_network_receive_errors", "rx_errors", "Receive errors."),
        ("container_network_transmit_bytes", "tx_bytes", "Bytes sent."),
        ("container_network_transmit_errors", "tx_errors", "Send errors."),
    )
    for name, field, text in rows:
        family = CounterMetricFamily(name, text, labels=_NET_LABELS)
        for sandbox in sandboxes:
            interface = sandbox.linux.network.default_interface
            if interface.name:
                _, cgroup, image, name_, namespace, pod = _pod_labels(sandbox)
                labels = [cgroup, image, interface.name, name_, namespace, pod]
                family.add_metric(labels, getattr(interface, field).value)
        yield family
