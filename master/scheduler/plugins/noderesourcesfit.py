"""NodeResourcesFit: requests must fit; of those that fit the emptiest scores best."""

from __future__ import annotations

from typing import Any

from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import (
    MAX_SCORE,
    NODE_ADD,
    NODE_ALLOCATABLE,
    POD_DELETE,
    Plugin,
    Rejection,
)
from master.scheduler.podinfo import CPU, MEMORY, PODS, PodInfo


class NodeResourcesFit(Plugin):
    """Scores with the LeastAllocated strategy over CPU and memory, equal weights."""

    name = "NodeResourcesFit"
    events = frozenset({NODE_ADD, NODE_ALLOCATABLE, POD_DELETE})

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        reasons = []
        if len(node.pods) + 1 > node.pod_limit:
            reasons.append("Too many pods")
        hopeless = False
        for name, amount in pod.requests.items():
            total = node.allocatable.get(name, 0)
            if amount and name != PODS and amount > total - node.requested[name]:
                reasons.append(f"Insufficient {name}")
                hopeless = hopeless or amount > total
        return Rejection(tuple(reasons), resolvable=not hopeless) if reasons else None

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        cpu = _free(node.allocatable.get(CPU, 0), node.scoring_cpu + pod.scoring_cpu)
        memory = _free(node.allocatable.get(MEMORY, 0), node.scoring_memory + pod.scoring_memory)
        return (cpu + memory) / 2


def _free(total: int, used: int) -> float:
    return (total - used) * MAX_SCORE / total if 0 <= used <= total and total else 0.0
