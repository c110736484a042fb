"""`/metrics/resource`: what nodes, pods and containers use, for metrics-server and autoscalers.

Upstream's names and labels; a few series where `/metrics/cadvisor` has many.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.pod import names
from worker.kubelet.server.cadvisor import Snapshot

_CONTAINER, _POD = ("container", "namespace", "pod"), ("namespace", "pod")


def resource_families(snapshot: Snapshot) -> Iterable[Metric]:
    if snapshot.machine is not None:
        yield CounterMetricFamily(
            "node_cpu_usage_seconds", "CPU seconds of the node.", value=snapshot.machine.cpu_seconds
        )
        yield GaugeMetricFamily(
            "node_memory_working_set_bytes",
            "Memory of the node.",
            value=snapshot.machine.working_set_bytes,
        )
    yield from _containers(snapshot)
    yield from _pods(snapshot)
    yield GaugeMetricFamily("resource_scrape_error", "1 if reading failed, else 0.", value=0)


def _containers(snapshot: Snapshot) -> Iterable[Metric]:
    cpu = CounterMetricFamily(
        "container_cpu_usage_seconds", "CPU seconds of the container.", labels=_CONTAINER
    )
    memory = GaugeMetricFamily(
        "container_memory_working_set_bytes", "Memory of the container.", labels=_CONTAINER
    )
    for stats in snapshot.containers:
        labels = _names(stats)
        cpu.add_metric(labels, stats.cpu.usage_core_nano_seconds.value / 1e9)
        memory.add_metric(labels, stats.memory.working_set_bytes.value)
    yield from (cpu, memory)


def _names(stats: cri.ContainerStats) -> list[str]:
    given = stats.attributes.labels
    wanted = (names.CONTAINER_NAME, names.POD_NAMESPACE, names.POD_NAME)
    return [given.get(label, "") for label in wanted]


def _pods(snapshot: Snapshot) -> Iterable[Metric]:
    cpu = CounterMetricFamily("pod_cpu_usage_seconds", "CPU seconds of the pod.", labels=_POD)
    memory = GaugeMetricFamily("pod_memory_working_set_bytes", "Memory of the pod.", labels=_POD)
    for sandbox in snapshot.sandboxes:
        labels = [sandbox.attributes.metadata.namespace, sandbox.attributes.metadata.name]
        cpu.add_metric(labels, sandbox.linux.cpu.usage_core_nano_seconds.value / 1e9)
        memory.add_metric(labels, sandbox.linux.memory.working_set_bytes.value)
    yield from (cpu, memory)
