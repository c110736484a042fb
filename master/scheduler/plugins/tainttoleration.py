"""TaintToleration: NoSchedule and NoExecute taints repel, PreferNoSchedule ones discourage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kube.machinery.tolerations import tolerated
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import NODE_ADD, NODE_TAINT, Cycle, Plugin, Rejection, scaled
from master.scheduler.podinfo import PodInfo


class TaintToleration(Plugin):
    name = "TaintToleration"
    weight = 3.0
    events = frozenset({NODE_ADD, NODE_TAINT})

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        for taint in node.taints:
            if taint.effect != "PreferNoSchedule" and not tolerated(pod.tolerations, taint):
                text = f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
                return Rejection((text,))
        return None

    def pre_score(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> Any:
        return [t for t in cycle.pod.tolerations if t.effect in ("", "PreferNoSchedule")]

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        return float(
            sum(
                taint.effect == "PreferNoSchedule" and not tolerated(state, taint)
                for taint in node.taints
            )
        )

    def normalize(self, scores: list[float]) -> list[float]:
        return scaled(scores, reverse=True)
