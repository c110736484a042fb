"""ImageLocality: prefer nodes that have the images, counted less where few nodes do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import MAX_SCORE, SKIP, Cycle, Plugin
from master.scheduler.podinfo import PodInfo

_MEBIBYTE = 1024 * 1024
_LEAST = 23 * _MEBIBYTE
_MOST_PER_CONTAINER = 1000 * _MEBIBYTE


class ImageLocality(Plugin):
    name = "ImageLocality"

    def pre_score(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> Any:
        """Image -> share of the nodes that have it."""
        nodes = cycle.nodes
        images = {normalized(image) for image in cycle.pod.images}
        spread = {i: sum(i in node.images for node in nodes) / len(nodes) for i in images if nodes}
        found = {image: share for image, share in spread.items() if share}
        return found or SKIP

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        here = sum(node.images.get(image, 0) * share for image, share in state.items())
        most = _MOST_PER_CONTAINER * len(pod.images)
        clipped: float = min(max(here, _LEAST), most)
        return MAX_SCORE * (clipped - _LEAST) / (most - _LEAST)


def normalized(image: str) -> str:
    """With the tag `latest` where there is none, as nodes report it."""
    last = image.rsplit("/", 1)[-1]
    return image if ":" in last or "@" in last else f"{image}:latest"
