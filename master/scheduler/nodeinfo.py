"""A node as the scheduler sees it: what it has, and what its pods take. No I/O."""

from __future__ import annotations

from collections import Counter

from kube.api.core import Node
from master.scheduler.podinfo import PODS, PodInfo, Port, amounts


class NodeInfo:
    """Kept up to date by the cache; plugins only read it."""

    __slots__ = (
        "affine", "allocatable", "controllers", "images", "labels", "name", "node", "pods",
        "ports", "requested", "scoring_cpu", "scoring_memory", "taints",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.node: Node | None = None
        self.labels: dict[str, str] = {}
        self.taints = Node().spec.taints
        self.allocatable: dict[str, int] = {}
        self.images: dict[str, int] = {}
        self.pods: dict[str, PodInfo] = {}
        # What plugins would otherwise have to search all pods for: those with affinity
        # terms, and how many live ones each controller has here.
        self.affine: dict[str, PodInfo] = {}
        self.controllers: Counter[str] = Counter()
        self.requested: Counter[str] = Counter()
        self.ports: Counter[Port] = Counter()
        self.scoring_cpu = 0
        self.scoring_memory = 0

    def set_node(self, node: Node) -> None:
        self.node = node
        self.labels = node.metadata.labels
        self.taints = node.spec.taints
        self.allocatable = amounts(node.status.allocatable or node.status.capacity)
        self.images = {
            name: image.size_bytes or 0 for image in node.status.images for name in image.names
        }

    @property
    def pod_limit(self) -> int:
        return self.allocatable.get(PODS, 0)

    def add(self, pod: PodInfo) -> None:
        self.remove(pod.uid)
        self.pods[pod.uid] = pod
        self.requested.update(pod.requests)
        self.ports.update(pod.ports)
        if pod.pod.spec.affinity is not None:
            self.affine[pod.uid] = pod
        if pod.controller_uid and not pod.deleting:
            self.controllers[pod.controller_uid] += 1
        self.scoring_cpu += pod.scoring_cpu
        self.scoring_memory += pod.scoring_memory

    def remove(self, uid: str) -> None:
        pod = self.pods.pop(uid, None)
        if pod is None:
            return
        self.requested.subtract(pod.requests)
        self.ports.subtract(pod.ports)
        self.affine.pop(uid, None)
        if pod.controller_uid and not pod.deleting:
            self.controllers[pod.controller_uid] -= 1
        self.scoring_cpu -= pod.scoring_cpu
        self.scoring_memory -= pod.scoring_memory
