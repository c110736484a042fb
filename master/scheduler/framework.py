"""Filter, score, choose: one scheduling decision over plugins. Pure.

Each plugin is a small class with at most four verbs: `prepare` looks at the pod (and the
nodes) once and may skip itself, `filter` says why a node will not do, `score` says how good
it is, `normalize` brings scores to 0..100. See KEP-624.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.podinfo import PodInfo

MAX_SCORE = 100.0
SKIP = object()  # what `prepare` returns when the pod does not concern the plugin

# Kinds of cluster events that can make an unschedulable pod schedulable.
NODE_ADD = "NodeAdd"
NODE_ALLOCATABLE = "NodeAllocatableChange"
NODE_LABEL = "NodeLabelChange"
NODE_TAINT = "NodeTaintChange"
POD_ADD = "AssignedPodAdd"
POD_UPDATE = "AssignedPodUpdate"
POD_DELETE = "AssignedPodDelete"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node will not do. Not `resolvable`: removing pods from it would not help."""

    reasons: tuple[str, ...]
    resolvable: bool = False


class Plugin:
    """Override what the plugin is about; `filters`/`scores` say which verbs it has."""

    name = ""
    weight = 1.0
    filters = False
    scores = False
    # Which events may cure this plugin's rejection.
    events: frozenset[str] = frozenset()

    def prepare(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> Any:
        return None

    def filter(self, pod: PodInfo, node: NodeInfo, prepared: Any) -> Rejection | None:
        return None

    def score(self, pod: PodInfo, node: NodeInfo, prepared: Any) -> float:
        return 0.0

    def normalize(self, scores: list[float]) -> list[float]:
        return scores


def scaled(scores: list[float], *, reverse: bool = False) -> list[float]:
    """Linear to 0..100 by the largest (upstream's DefaultNormalizeScore)."""
    largest = max(scores, default=0.0)
    if largest <= 0:
        return [MAX_SCORE if reverse else 0.0] * len(scores)
    shares = [score * MAX_SCORE / largest for score in scores]
    return [MAX_SCORE - share for share in shares] if reverse else shares


@dataclass(frozen=True, slots=True)
class Decision:
    """A node, or per node the rejection that kept the pod off it."""

    node: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    rejections: dict[str, Rejection] = field(default_factory=dict)
    plugins: frozenset[str] = frozenset()  # those that rejected some node
    node_count: int = 0


def feasible_limit(nodes: int) -> int:
    """How many feasible nodes are enough to choose from (numFeasibleNodesToFind)."""
    if nodes < 100:
        return nodes
    percent = max(5, 50 - nodes // 125)
    return max(100, nodes * percent // 100)


class Framework:
    """The plugins of a profile, and where the last search ended."""

    def __init__(self, plugins: Sequence[Plugin], rng: Random) -> None:
        self._plugins = tuple(plugins)
        self._rng = rng
        self._start = 0

    def schedule(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> Decision:
        prepared = {p.name: p.prepare(pod, nodes) for p in self._plugins}
        live = [p for p in self._plugins if prepared[p.name] is not SKIP]
        feasible, rejections, guilty = self._filter(pod, nodes, live, prepared)
        if not feasible:
            return Decision(rejections=rejections, plugins=frozenset(guilty), node_count=len(nodes))
        if len(feasible) == 1:
            return Decision(node=feasible[0].name, node_count=len(nodes))
        totals = self._score(pod, feasible, live, prepared)
        best = max(totals)
        # Equal scores are told apart by chance, or the first name would get everything.
        ties = [n.name for n, total in zip(feasible, totals, strict=True) if total >= best - 1e-9]
        chosen = ties[0] if len(ties) == 1 else self._rng.choice(ties)
        scores = {n.name: total for n, total in zip(feasible, totals, strict=True)}
        return Decision(node=chosen, scores=scores, node_count=len(nodes))

    def _filter(
        self,
        pod: PodInfo,
        nodes: Sequence[NodeInfo],
        live: Sequence[Plugin],
        prepared: dict[str, Any],
    ) -> tuple[list[NodeInfo], dict[str, Rejection], set[str]]:
        filters = [(p, p.filter, prepared[p.name]) for p in live if p.filters]
        limit = feasible_limit(len(nodes))
        feasible: list[NodeInfo] = []
        rejections: dict[str, Rejection] = {}
        guilty: set[str] = set()
        looked = 0
        for looked in range(1, len(nodes) + 1):
            # Each search goes on where the last one ended, so that all nodes get their turn.
            node = nodes[(self._start + looked - 1) % len(nodes)]
            for plugin, judge, state in filters:
                rejection = judge(pod, node, state)
                if rejection is not None:
                    rejections[node.name] = rejection
                    guilty.add(plugin.name)
                    break
            else:
                feasible.append(node)
                if len(feasible) >= limit:
                    break
        if nodes and limit < len(nodes):
            self._start = (self._start + looked) % len(nodes)
        return feasible, rejections, guilty

    def _score(
        self,
        pod: PodInfo,
        feasible: Sequence[NodeInfo],
        live: Sequence[Plugin],
        prepared: dict[str, Any],
    ) -> list[float]:
        totals = [0.0] * len(feasible)
        for plugin in live:
            if not plugin.scores:
                continue
            state = prepared[plugin.name]
            raw = [plugin.score(pod, node, state) for node in feasible]
            for index, score in enumerate(plugin.normalize(raw)):
                totals[index] += score * plugin.weight
        return totals


def explain(decision: Decision) -> str:
    """Upstream's FitError text, the message of FailedScheduling events."""
    if not decision.node_count:
        return "no nodes available to schedule pods"
    counted: Counter[str] = Counter()
    for rejection in decision.rejections.values():
        counted.update(rejection.reasons)
    helpful: Counter[str] = Counter()
    for rejection in decision.rejections.values():
        helpful[
            "No preemption victims found for incoming pod"
            if rejection.resolvable
            else "Preemption is not helpful for scheduling"
        ] += 1
    head = f"0/{decision.node_count} nodes are available"
    return f"{head}: {_histogram(counted)}. preemption: {head}: {_histogram(helpful)}."


def _histogram(counted: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counted.items()))
