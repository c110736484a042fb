"""The plugins of a profile, run in the order of KEP-624. Pure: it decides, and awaits plugins.

The scheduling cycle (`schedule`, `reserve`, `permit`) is for one pod at a time; the binding cycle
(`pre_bind`, `bind`, `post_bind`) may run beside it. Whoever calls `reserve` and does not come to
`post_bind` must call `unreserve`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from kube.api.core import Pod
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import (
    SKIP,
    Cycle,
    Handle,
    Hold,
    Narrowed,
    Nominated,
    Plugin,
    Rejection,
    has,
)
from master.scheduler.podinfo import PodInfo

# However long a plugin holds a pod back (upstream's maxTimeout).
LONGEST_HOLD_SECONDS = 900.0
_FILTERED_OUT = Rejection(("node(s) didn't satisfy the prefilter result",))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A plugin said no after a node was chosen."""

    plugin: str
    rejection: Rejection

    def __str__(self) -> str:
        return ", ".join(self.rejection.reasons)


class NoBinder(Exception):
    """Every binder skipped the pod."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A node, or per node the rejection that kept the pod off it."""

    cycle: Cycle
    node: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    rejections: dict[str, Rejection] = field(default_factory=dict)
    plugins: frozenset[str] = frozenset()  # those that rejected some node
    everywhere: Rejection | None = None  # from a pre_filter: no node was looked at
    nominated: str = ""
    remarks: tuple[str, ...] = ()  # of post_filter plugins

    @property
    def node_count(self) -> int:
        return len(self.cycle.nodes)


def feasible_limit(nodes: int) -> int:
    """How many feasible nodes are enough to choose from (numFeasibleNodesToFind)."""
    if nodes < 100:
        return nodes
    percent = max(5, 50 - nodes // 125)
    return max(100, nodes * percent // 100)


class Framework:
    """Calls each verb of the plugins that have it, and knows where the last search ended."""

    def __init__(self, plugins: Sequence[Plugin], rng: Random) -> None:
        self.plugins = tuple(plugins)
        self._rng = rng
        self._start = 0
        self._by_verb = {
            verb: [plugin for plugin in plugins if has(plugin, verb)]
            for verb in vars(Plugin)
            if not verb.startswith("_") and callable(getattr(Plugin, verb))
        }
        sorters = self._by_verb["queue_key"]
        if len(sorters) != 1:
            names = ", ".join(plugin.name for plugin in sorters) or "none"
            raise ValueError(f"exactly one plugin must sort the queue, not {names}")
        self._sorter = sorters[0]
        self._events = {plugin.name: plugin.events for plugin in plugins}
        self._unreserving = self._by_verb["unreserve"][::-1]

    def attach(self, handle: Handle) -> None:
        """Give the plugins what they have of the scheduler."""
        for plugin in self.plugins:
            plugin.handle = handle

    def cures(self, plugin: str) -> frozenset[str]:
        """The events that may cure the plugin's rejection."""
        return self._events.get(plugin, frozenset())

    def queue_key(self, pod: Pod, since: float) -> Any:
        """The waiting pod with the smallest is tried first."""
        return self._sorter.queue_key(pod, since)

    def pre_enqueue(self, pod: Pod) -> Refusal | None:
        """The first plugin that keeps the pod out of the queue."""
        return _first((p.name, p.pre_enqueue(pod)) for p in self._by_verb["pre_enqueue"])

    # -- the scheduling cycle

    def schedule(self, pod: PodInfo, nodes: Sequence[NodeInfo]) -> Decision:
        cycle = Cycle(pod, nodes)
        skipped: set[str] = set()
        chosen = nodes
        for plugin in self._by_verb["pre_filter"]:
            made = plugin.pre_filter(cycle)
            if isinstance(made, Rejection):
                return self._after_filter(cycle, {}, {plugin.name}, made)
            if isinstance(made, Narrowed):
                chosen = [node for node in chosen if node.name in made.nodes]
                made = made.state
            if made is SKIP:
                skipped.add(plugin.name)
            else:
                cycle.state[plugin.name] = made
        feasible, rejections, guilty = self._filter(cycle, chosen, skipped)
        if not feasible:
            if chosen is not nodes:
                kept = {node.name for node in chosen}
                rejections |= {n.name: _FILTERED_OUT for n in nodes if n.name not in kept}
                guilty |= {plugin.name for plugin in self._by_verb["pre_filter"]} - skipped
            return self._after_filter(cycle, rejections, guilty)
        if len(feasible) == 1:
            return Decision(cycle, feasible[0].name)
        return self._choose(cycle, feasible)

    def _filter(
        self, cycle: Cycle, nodes: Sequence[NodeInfo], skipped: set[str]
    ) -> tuple[list[NodeInfo], dict[str, Rejection], set[str]]:
        filters = [
            (plugin, plugin.filter, cycle.state.get(plugin.name))
            for plugin in self._by_verb["filter"]
            if plugin.name not in skipped
        ]
        limit = feasible_limit(len(nodes))
        feasible: list[NodeInfo] = []
        rejections: dict[str, Rejection] = {}
        guilty: set[str] = set()
        looked, pod = 0, cycle.pod
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

    def _after_filter(
        self,
        cycle: Cycle,
        rejections: dict[str, Rejection],
        guilty: set[str],
        everywhere: Rejection | None = None,
    ) -> Decision:
        """No node will do: perhaps a plugin can make room."""
        nominated, remarks = "", list[str]()
        of_each = rejections
        if everywhere is not None:
            of_each = {node.name: everywhere for node in cycle.nodes}
        for plugin in self._by_verb["post_filter"]:
            found = plugin.post_filter(cycle, of_each)
            if isinstance(found, Nominated):
                nominated = found.node
                break
            if found is not None:
                remarks += found.reasons
        return Decision(
            cycle,
            rejections=rejections,
            plugins=frozenset(guilty),
            everywhere=everywhere,
            nominated=nominated,
            remarks=tuple(remarks),
        )

    def _choose(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> Decision:
        totals = self._score(cycle, feasible)
        best = max(totals)
        # Equal scores are told apart by chance, or the first name would get everything.
        ties = [n.name for n, total in zip(feasible, totals, strict=True) if total >= best - 1e-9]
        node = ties[0] if len(ties) == 1 else self._rng.choice(ties)
        scores = {n.name: total for n, total in zip(feasible, totals, strict=True)}
        return Decision(cycle, node, scores)

    def _score(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> list[float]:
        states: dict[str, Any] = dict(cycle.state)
        for plugin in self._by_verb["pre_score"]:
            states[plugin.name] = plugin.pre_score(cycle, feasible)
        totals = [0.0] * len(feasible)
        pod = cycle.pod
        for plugin in self._by_verb["score"]:
            state = states.get(plugin.name)
            if state is SKIP:
                continue
            raw = [plugin.score(pod, node, state) for node in feasible]
            for index, score in enumerate(plugin.normalize(raw)):
                totals[index] += score * plugin.weight
        return totals

    def reserve(self, cycle: Cycle, node: str) -> Refusal | None:
        """The first refusal; what was reserved before it must be given back by `unreserve`."""
        return _first((p.name, p.reserve(cycle, node)) for p in self._by_verb["reserve"])

    def unreserve(self, cycle: Cycle, node: str) -> None:
        """Every plugin gives back, the last one first, also those that had reserved nothing."""
        for plugin in self._unreserving:
            plugin.unreserve(cycle, node)

    def permit(self, cycle: Cycle, node: str) -> Refusal | dict[str, float]:
        """The first refusal, or for how many seconds which plugins hold the pod (none: go on)."""
        holds: dict[str, float] = {}
        for plugin in self._by_verb["permit"]:
            said = plugin.permit(cycle, node)
            if isinstance(said, Rejection):
                return Refusal(plugin.name, said)
            if isinstance(said, Hold):
                holds[plugin.name] = min(said.seconds, LONGEST_HOLD_SECONDS)
        return holds

    # -- the binding cycle

    async def pre_bind(self, cycle: Cycle, node: str) -> Refusal | None:
        for plugin in self._by_verb["pre_bind"]:
            rejection = await plugin.pre_bind(cycle, node)
            if rejection is not None:
                return Refusal(plugin.name, rejection)
        return None

    async def bind(self, cycle: Cycle, node: str) -> None:
        """By the first binder that does not skip the pod."""
        for plugin in self._by_verb["bind"]:
            if await plugin.bind(cycle, node) is not SKIP:
                return
        raise NoBinder(f'no plugin binds pod "{cycle.pod.key}"')

    def post_bind(self, cycle: Cycle, node: str) -> None:
        for plugin in self._by_verb["post_bind"]:
            plugin.post_bind(cycle, node)


def _first(said: Iterable[tuple[str, Rejection | None]]) -> Refusal | None:
    """The first rejection; the plugins after it are not asked."""
    return next((Refusal(name, no) for name, no in said if no is not None), None)


def explain(decision: Decision) -> str:
    """Upstream's FitError text, the message of FailedScheduling events."""
    if not decision.node_count:
        return "no nodes available to schedule pods"
    head = f"0/{decision.node_count} nodes are available"
    rejections: Mapping[str, Rejection] = decision.rejections
    if decision.everywhere is not None:
        why = ", ".join(decision.everywhere.reasons)
        rejections = {node.name: decision.everywhere for node in decision.cycle.nodes}
    else:
        counted: Counter[str] = Counter()
        for rejection in rejections.values():
            counted.update(rejection.reasons)
        why = _histogram(counted)
    after = " ".join(decision.remarks) or f"preemption: {head}: {_helpful(rejections.values())}."
    return f"{head}: {why}. {after}"


def _helpful(rejections: Iterable[Rejection]) -> str:
    return _histogram(
        Counter(
            "No preemption victims found for incoming pod"
            if rejection.resolvable
            else "Preemption is not helpful for scheduling"
            for rejection in rejections
        )
    )


def _histogram(counted: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counted.items()))
