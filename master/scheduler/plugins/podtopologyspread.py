"""PodTopologySpread: keep a group of pods even over hosts, zones or any other domain.

Hard constraints (DoNotSchedule) filter, soft ones score. Pods without constraints get the
system's defaults, soft and by their controller: maxSkew 3 over hosts, 5 over zones (KEP-895,
KEP-1258).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kube.api.core import TopologySpreadConstraint
from kube.machinery.selectors import Requirement, Selector, from_label_selector
from kube.machinery.tolerations import tolerated
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import (
    MAX_SCORE,
    NODE_ADD,
    NODE_LABEL,
    NODE_TAINT,
    POD_ADD,
    POD_DELETE,
    POD_UPDATE,
    SKIP,
    Cycle,
    Plugin,
    Rejection,
)
from master.scheduler.plugins.nodeaffinity import matches_required
from master.scheduler.podinfo import PodInfo

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
_SYSTEM_DEFAULTS = ((HOSTNAME, 3), (ZONE, 5))
_SKEW = "node(s) didn't match pod topology spread constraints"


@dataclass(frozen=True, slots=True)
class Group:
    """Which pods a constraint counts: a selector, or all of one controller."""

    namespace: str
    selector: Selector | None = None
    controller_uid: str = ""

    def count(self, node: NodeInfo) -> int:
        if self.controller_uid:
            return node.controllers[self.controller_uid]
        return sum(self._has(pod) for pod in node.pods.values())

    def _has(self, pod: PodInfo) -> bool:
        if pod.namespace != self.namespace or pod.deleting or self.selector is None:
            return False
        return self.selector.matches(pod.labels)


@dataclass(frozen=True, slots=True)
class Constraint:
    key: str
    max_skew: int
    group: Group
    counts_self: bool
    min_domains: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False
    default: bool = False

    def includes(self, pod: PodInfo, node: NodeInfo) -> bool:
        """Whether the node's domain takes part in the reckoning."""
        if self.honors_affinity and not matches_required(pod, node):
            return False
        return not self.honors_taints or not any(
            taint.effect != "PreferNoSchedule" and not tolerated(pod.tolerations, taint)
            for taint in node.taints
        )


class PodTopologySpread(Plugin):
    name = "PodTopologySpread"
    weight = 2.0
    events = frozenset({NODE_ADD, NODE_LABEL, NODE_TAINT, POD_ADD, POD_UPDATE, POD_DELETE})

    def pre_filter(self, cycle: Cycle) -> Any:
        pod, prepared = cycle.pod, list[tuple[Constraint, Counter[str], int]]()
        hard, _ = constraints_of(pod)
        keys = [constraint.key for constraint in hard]
        for constraint in hard:
            counts = _count(pod, constraint, cycle.nodes, keys)
            least = min(counts.values(), default=0)
            if len(counts) < constraint.min_domains:
                least = 0
            prepared.append((constraint, counts, least))
        return prepared or SKIP

    def pre_score(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> Any:
        prepared = list[tuple[Constraint, Mapping[str, int], float]]()
        _, soft = constraints_of(cycle.pod)
        for constraint in soft:
            counts = _count(cycle.pod, constraint, cycle.nodes, [constraint.key])
            if counts:
                # More domains make each one's count weigh less certain: upstream's log weight.
                weight = math.log(len(counts) + 2)
                prepared.append((constraint, counts, weight))
        return prepared or SKIP

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        for constraint, counts, least in state:
            domain = node.labels.get(constraint.key)
            if domain is None:
                return Rejection((f"{_SKEW} (missing required label)",))
            if counts[domain] + constraint.counts_self - least > constraint.max_skew:
                return Rejection((_SKEW,), resolvable=True)
        return None

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        """Lower is better until `normalize`; a node outside every domain is the worst."""
        total = 0.0
        for constraint, counts, weight in state:
            domain = node.labels.get(constraint.key)
            if domain is None:
                if not constraint.default:
                    return math.inf
                continue
            total += counts.get(domain, 0) * weight + (constraint.max_skew - 1)
        return total

    def normalize(self, scores: list[float]) -> list[float]:
        finite = [score for score in scores if score != math.inf]
        low, high = min(finite, default=0.0), max(finite, default=0.0)
        return [_inverted(score, low, high) for score in scores]


def _inverted(score: float, low: float, high: float) -> float:
    if score == math.inf:
        return 0.0
    return MAX_SCORE if high == 0 else MAX_SCORE * (high + low - score) / high


def constraints_of(pod: PodInfo) -> tuple[list[Constraint], list[Constraint]]:
    """Hard and soft ones; the system's defaults where the pod states none."""
    stated = pod.pod.spec.topology_spread_constraints
    if not stated:
        return [], _defaults(pod)
    hard = [_constraint(pod, c) for c in stated if c.when_unsatisfiable != "ScheduleAnyway"]
    soft = [_constraint(pod, c) for c in stated if c.when_unsatisfiable == "ScheduleAnyway"]
    return hard, soft


def _defaults(pod: PodInfo) -> list[Constraint]:
    if not pod.controller_uid:
        return []
    group = Group(pod.namespace, controller_uid=pod.controller_uid)
    return [
        Constraint(key, skew, group, counts_self=True, default=True)
        for key, skew in _SYSTEM_DEFAULTS
    ]


def _constraint(pod: PodInfo, stated: TopologySpreadConstraint) -> Constraint:
    selector = from_label_selector(stated.label_selector)
    if selector is not None:
        extra = tuple(
            Requirement(key, "In", frozenset({pod.labels[key]}))
            for key in stated.match_label_keys
            if key in pod.labels
        )
        selector = Selector(selector.requirements + extra)
    return Constraint(
        key=stated.topology_key,
        max_skew=stated.max_skew or 1,
        group=Group(pod.namespace, selector),
        counts_self=selector is not None and selector.matches(pod.labels),
        min_domains=stated.min_domains or 1,
        honors_affinity=stated.node_affinity_policy != "Ignore",
        honors_taints=stated.node_taints_policy == "Honor",
    )


def _count(
    pod: PodInfo, constraint: Constraint, nodes: Sequence[NodeInfo], keys: Sequence[str]
) -> Counter[str]:
    """Pods of the group by domain; domains without any are there with zero."""
    counts: Counter[str] = Counter()
    for node in nodes:
        if any(key not in node.labels for key in keys) or not constraint.includes(pod, node):
            continue
        counts[node.labels[constraint.key]] += constraint.group.count(node)
    return counts
