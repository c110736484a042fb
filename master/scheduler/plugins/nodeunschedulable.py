"""NodeUnschedulable: cordoned nodes take no new pods."""

from __future__ import annotations

from typing import Any

from kube.api.core import Taint
from kube.machinery.tolerations import tolerated
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import NODE_ADD, NODE_TAINT, Plugin, Rejection
from master.scheduler.podinfo import PodInfo

_TAINT = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


class NodeUnschedulable(Plugin):
    name = "NodeUnschedulable"
    events = frozenset({NODE_ADD, NODE_TAINT})

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        assert node.node is not None
        if not node.node.spec.unschedulable or tolerated(pod.tolerations, _TAINT):
            return None
        return Rejection(("node(s) were unschedulable",))
