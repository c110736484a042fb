"""NodeName: a pod that names its node goes there or nowhere."""

from __future__ import annotations

from typing import Any

from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import NODE_ADD, SKIP, Cycle, Plugin, Rejection
from master.scheduler.podinfo import PodInfo


class NodeName(Plugin):
    name = "NodeName"
    events = frozenset({NODE_ADD})

    def pre_filter(self, cycle: Cycle) -> Any:
        return cycle.pod.pod.spec.node_name or SKIP

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        if node.name == state:
            return None
        return Rejection(("node(s) didn't match the requested node name",))
