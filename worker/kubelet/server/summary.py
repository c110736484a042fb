"""`/stats/summary`: the kubelet's stats API (`stats/v1alpha1`), the part that `top` reads."""

from __future__ import annotations

from typing import Any

from kube.machinery.times import format_seconds
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.node import machine
from worker.kubelet.pod import names
from worker.kubelet.server.cadvisor import Snapshot


def summary(node: str, snapshot: Snapshot, now: float) -> dict[str, Any]:
    when = format_seconds(now)
    used = machine.memory_used()
    pods: dict[str, dict[str, Any]] = {}
    for stats in snapshot.containers:
        labels = stats.attributes.labels
        pod = pods.setdefault(
            labels.get(names.POD_UID, ""),
            {
                "podRef": {
                    "name": labels.get(names.POD_NAME, ""),
                    "namespace": labels.get(names.POD_NAMESPACE, ""),
                    "uid": labels.get(names.POD_UID, ""),
                },
                "startTime": when,
                "containers": [],
            },
        )
        pod["containers"].append(_container(stats, when))
    return {
        "node": {
            "nodeName": node,
            "startTime": when,
            "cpu": {"time": when, "usageCoreNanoSeconds": int(machine.cpu_used_seconds() * 1e9)},
            "memory": {"time": when, "workingSetBytes": used, "usageBytes": used},
        },
        "pods": list(pods.values()),
    }


def _container(stats: cri.ContainerStats, when: str) -> dict[str, Any]:
    return {
        "name": stats.attributes.metadata.name,
        "startTime": when,
        "cpu": {
            "time": when,
            "usageCoreNanoSeconds": stats.cpu.usage_core_nano_seconds.value,
            "usageNanoCores": stats.cpu.usage_nano_cores.value,
        },
        "memory": {
            "time": when,
            "workingSetBytes": stats.memory.working_set_bytes.value,
            "usageBytes": stats.memory.usage_bytes.value,
            "rssBytes": stats.memory.rss_bytes.value,
        },
        "rootfs": {"time": when, "usedBytes": stats.writable_layer.used_bytes.value},
    }
