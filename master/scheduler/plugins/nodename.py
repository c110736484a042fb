"""NodeName: a pod that names its node goes there or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from master.scheduler.framework import NODE_ADD, SKIP, Plugin, Rejection
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.podinfo import PodInfo


class NodeName(Plugin):
    name = "NodeName"
    filters = True
    events = frozenset({NODE_ADD})

    def prepare(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> Any:
        return pod.pod.spec.node_name or SKIP

    def filter(self, pod: PodInfo, node: NodeInfo, prepared: Any) -> Rejection | None:
        if node.name == prepared:
            return None
        return Rejection(("node(s) didn't match the requested node name",))
