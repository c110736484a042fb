"""NodeAffinity: nodeSelector and nodeAffinity, required and preferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kube.api.core import NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import NODE_ADD, NODE_LABEL, SKIP, Cycle, Plugin, Rejection, scaled
from master.scheduler.podinfo import PodInfo


class NodeAffinity(Plugin):
    name = "NodeAffinity"
    weight = 2.0
    events = frozenset({NODE_ADD, NODE_LABEL})

    def pre_filter(self, cycle: Cycle) -> Any:
        pod = cycle.pod
        return SKIP if not pod.pod.spec.node_selector and pod.required_affinity is None else None

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        if matches_required(pod, node):
            return None
        return Rejection(("node(s) didn't match Pod's node affinity/selector",))

    def pre_score(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> Any:
        return _preferred(cycle.pod) or SKIP

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        return float(
            sum(
                term.weight or 0
                for term in state
                if term.preference is not None and term_matches(term.preference, node)
            )
        )

    def normalize(self, scores: list[float]) -> list[float]:
        return scaled(scores)


def _preferred(pod: PodInfo) -> tuple[PreferredSchedulingTerm, ...]:
    affinity = pod.pod.spec.affinity
    if affinity is None or affinity.node_affinity is None:
        return ()
    return affinity.node_affinity.preferred_during_scheduling_ignored_during_execution


def matches_required(pod: PodInfo, node: NodeInfo) -> bool:
    """nodeSelector and required affinity must both hold; of the terms one is enough."""
    if not pod.pod.spec.node_selector.items() <= node.labels.items():
        return False
    required = pod.required_affinity
    if required is None:
        return True
    return any(term_matches(term, node) for term in required.node_selector_terms)


def term_matches(term: NodeSelectorTerm, node: NodeInfo) -> bool:
    """All requirements hold. A term without any matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.name}
    return all(_holds(r, node.labels) for r in term.match_expressions) and all(
        _holds(r, fields) for r in term.match_fields
    )


def _holds(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    operator = requirement.operator
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator == "NotIn":
        return value is None or value not in requirement.values
    if value is None:
        return False
    if operator == "In":
        return value in requirement.values
    return _compares(operator, value, requirement.values)


def _compares(operator: str, value: str, bounds: Sequence[str]) -> bool:
    try:
        left, right = int(value), int(bounds[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else operator == "Lt" and left < right
