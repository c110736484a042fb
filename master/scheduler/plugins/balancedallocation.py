"""NodeResourcesBalancedAllocation: prefer nodes whose CPU and memory fill up alike."""

from __future__ import annotations

from typing import Any

from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import MAX_SCORE, Plugin
from master.scheduler.podinfo import CPU, MEMORY, PodInfo


class BalancedAllocation(Plugin):
    name = "NodeResourcesBalancedAllocation"

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        cpu = _share(node.requested[CPU] + pod.requests.get(CPU, 0), node.allocatable.get(CPU, 0))
        memory = _share(
            node.requested[MEMORY] + pod.requests.get(MEMORY, 0), node.allocatable.get(MEMORY, 0)
        )
        # The standard deviation of two numbers is half their distance.
        return (1 - abs(cpu - memory) / 2) * MAX_SCORE


def _share(used: int, total: int) -> float:
    return min(1.0, used / total) if total else 1.0
