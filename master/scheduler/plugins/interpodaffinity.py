"""InterPodAffinity: pods that want to be near, or far from, other pods.

Required terms of the incoming pod filter, and so do the required anti-affinity terms of
pods that are there already: repulsion works both ways. Preferred terms score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kube.api.core import PodAffinity, PodAffinityTerm, PodAntiAffinity
from kube.machinery.selectors import Requirement, Selector, from_label_selector
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import (
    MAX_SCORE,
    NODE_ADD,
    NODE_LABEL,
    POD_ADD,
    POD_DELETE,
    POD_UPDATE,
    SKIP,
    Cycle,
    Plugin,
    Rejection,
)
from master.scheduler.podinfo import PodInfo

Domain = tuple[str, str]  # topology key and value


@dataclass(frozen=True, slots=True)
class Term:
    """Which pods a term speaks of, and over which domains."""

    key: str
    namespaces: frozenset[str] | None  # None: all
    selector: Selector | None
    weight: float = 1.0

    def names(self, pod: PodInfo) -> bool:
        if self.namespaces is not None and pod.namespace not in self.namespaces:
            return False
        return self.selector is not None and self.selector.matches(pod.labels)


@dataclass(slots=True)
class Prepared:
    affinity: list[Term] = field(default_factory=list)
    anti: list[Term] = field(default_factory=list)
    near: list[set[Domain]] = field(default_factory=list)  # by term of `affinity`
    far: set[Domain] = field(default_factory=set)
    repelled: set[Domain] = field(default_factory=set)
    pull: dict[Domain, float] = field(default_factory=dict)
    anywhere: bool = False  # the first pod of a group may start it


class InterPodAffinity(Plugin):
    name = "InterPodAffinity"
    weight = 2.0
    events = frozenset({NODE_ADD, NODE_LABEL, POD_ADD, POD_UPDATE, POD_DELETE})

    def pre_filter(self, cycle: Cycle) -> Any:
        pod = cycle.pod
        affinity, anti, preferred = terms_of(pod)
        state = Prepared(affinity=affinity, anti=anti, near=[set() for _ in affinity])
        for node in cycle.nodes:
            # Without terms of its own a pod only meets those that have some.
            others = node.pods if affinity or anti or preferred else node.affine
            for other in others.values():
                _weigh(state, pod, other, node, preferred)
        # A pod that matches its own terms may be the first of its kind anywhere.
        state.anywhere = not any(state.near) and all(term.names(pod) for term in affinity)
        if affinity or anti or state.repelled or state.pull:
            return state
        return SKIP

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        found: Prepared = state
        for term, near in zip(found.affinity, found.near, strict=True):
            value = node.labels.get(term.key)
            if value is None or ((term.key, value) not in near and not found.anywhere):
                return Rejection(("node(s) didn't match pod affinity rules",))
        if any((term.key, node.labels.get(term.key, "")) in found.far for term in found.anti):
            return Rejection(("node(s) didn't match pod anti-affinity rules",), resolvable=True)
        if any((key, node.labels.get(key, "")) in found.repelled for key, _ in found.repelled):
            text = "node(s) didn't satisfy existing pods anti-affinity rules"
            return Rejection((text,), resolvable=True)
        return None

    def pre_score(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> Any:
        found: Prepared | None = cycle.state.get(self.name)
        return found if found is not None and found.pull else SKIP

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        found: Prepared = state
        return sum(
            weight for (key, value), weight in found.pull.items() if node.labels.get(key) == value
        )

    def normalize(self, scores: list[float]) -> list[float]:
        low, high = min(scores, default=0.0), max(scores, default=0.0)
        span = high - low
        return [MAX_SCORE * (score - low) / span if span else 0.0 for score in scores]


def _weigh(
    state: Prepared, pod: PodInfo, other: PodInfo, node: NodeInfo, preferred: Sequence[Term]
) -> None:
    """Note what `other`, on `node`, means for `pod`."""
    for term, near in zip(state.affinity, state.near, strict=True):
        if term.key in node.labels and term.names(other):
            near.add((term.key, node.labels[term.key]))
    for term in state.anti:
        if term.key in node.labels and term.names(other):
            state.far.add((term.key, node.labels[term.key]))
    for term in preferred:
        if term.key in node.labels and term.names(other):
            _pull(state, (term.key, node.labels[term.key]), term.weight)
    if other.pod.spec.affinity is None:
        return
    _, others_anti, others_preferred = terms_of(other)
    for term in others_anti:
        if term.key in node.labels and term.names(pod):
            state.repelled.add((term.key, node.labels[term.key]))
    for term in others_preferred:
        if term.key in node.labels and term.names(pod):
            _pull(state, (term.key, node.labels[term.key]), term.weight)


def _pull(state: Prepared, domain: Domain, weight: float) -> None:
    state.pull[domain] = state.pull.get(domain, 0.0) + weight


def terms_of(pod: PodInfo) -> tuple[list[Term], list[Term], list[Term]]:
    """Required affinity, required anti-affinity, and all preferred terms (anti: negative)."""
    affinity = pod.pod.spec.affinity
    if affinity is None:
        return [], [], []
    near, far = affinity.pod_affinity, affinity.pod_anti_affinity
    return (
        _required(pod, near),
        _required(pod, far),
        [*_preferred(pod, near, 1.0), *_preferred(pod, far, -1.0)],
    )


def _required(pod: PodInfo, side: PodAffinity | PodAntiAffinity | None) -> list[Term]:
    if side is None:
        return []
    return [_term(pod, t) for t in side.required_during_scheduling_ignored_during_execution]


def _preferred(
    pod: PodInfo, side: PodAffinity | PodAntiAffinity | None, sign: float
) -> Iterable[Term]:
    if side is None:
        return
    for weighted in side.preferred_during_scheduling_ignored_during_execution:
        if weighted.pod_affinity_term is not None:
            yield _term(pod, weighted.pod_affinity_term, sign * (weighted.weight or 0))


def _term(pod: PodInfo, term: PodAffinityTerm, weight: float = 1.0) -> Term:
    selector = from_label_selector(term.label_selector)
    if selector is not None:
        extra = [
            Requirement(key, operator, frozenset({pod.labels[key]}))
            for keys, operator in (
                (term.match_label_keys, "In"), (term.mismatch_label_keys, "NotIn")
            )
            for key in keys
            if key in pod.labels
        ]  # fmt: skip
        selector = Selector((*selector.requirements, *extra))
    # An empty namespaceSelector means all; others need namespace labels, which this
    # scheduler does not watch: the listed namespaces count then.
    everywhere = term.namespace_selector is not None and not (
        term.namespace_selector.match_labels or term.namespace_selector.match_expressions
    )
    namespaces = None if everywhere else frozenset(term.namespaces or (pod.namespace,))
    return Term(term.topology_key, namespaces, selector, weight)
