"""What runs where, including what was decided and is not confirmed yet. No I/O.

A pod is *assumed* on its node from the decision on; the watch confirms it, or a failed
binding forgets it.
"""

from __future__ import annotations

from kube.api.core import Node, Pod
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.podinfo import PodInfo, pod_info


class Cache:
    def __init__(self) -> None:
        self._nodes: dict[str, NodeInfo] = {}
        self._where: dict[str, str] = {}  # pod uid -> node name
        self._assumed: set[str] = set()
        self._listed: list[NodeInfo] | None = None

    def nodes(self) -> list[NodeInfo]:
        """The nodes that exist, by name."""
        if self._listed is None:
            named = sorted(self._nodes.items())
            self._listed = [info for _, info in named if info.node is not None]
        return self._listed

    def set_node(self, node: Node) -> None:
        info = self._info(node.metadata.name)
        if info.node is None:
            self._listed = None
        info.set_node(node)

    def remove_node(self, name: str) -> None:
        info = self._nodes.get(name)
        if info is None:
            return
        info.node = None
        self._listed = None
        if not info.pods:
            del self._nodes[name]

    def set_pod(self, pod: Pod) -> None:
        """A pod that the watch shows on a node: the truth, whatever was assumed."""
        info = pod_info(pod)
        self._assumed.discard(info.uid)
        if self._where.get(info.uid, pod.spec.node_name) != pod.spec.node_name:
            self.remove_pod(info.uid)
        self._place(info, pod.spec.node_name)

    def remove_pod(self, uid: str) -> None:
        self._assumed.discard(uid)
        name = self._where.pop(uid, None)
        info = self._nodes.get(name) if name is not None else None
        if info is None:
            return
        info.remove(uid)
        if info.node is None and not info.pods:
            del self._nodes[info.name]

    def assume(self, pod: PodInfo, node: str) -> None:
        self._assumed.add(pod.uid)
        self._place(pod, node)

    def forget(self, uid: str) -> None:
        """The binding failed: as if never decided, unless the watch has confirmed it."""
        if uid in self._assumed:
            self.remove_pod(uid)

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def knows(self, uid: str) -> bool:
        return uid in self._where

    def _place(self, pod: PodInfo, node: str) -> None:
        self._info(node).add(pod)
        self._where[pod.uid] = node

    def _info(self, name: str) -> NodeInfo:
        if name not in self._nodes:
            self._nodes[name] = NodeInfo(name)
        return self._nodes[name]
