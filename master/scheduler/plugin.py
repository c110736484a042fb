"""What a scheduler plugin is: the verbs of KEP-624's framework, to be overridden at will. Pure.

A plugin is a class in a file of `plugins/` and a line in its list. The framework finds out which
verbs it has; in the order in which a pod meets them:

    pre_enqueue                                       may it be tried at all?
    queue_key                                         who is tried first (one plugin only)
    pre_filter, filter, post_filter                   where could it run; what if nowhere?
    pre_score, score, normalize                       where had it better run?
    reserve, permit, pre_bind, bind, post_bind        the decision is carried out
    unreserve                                         ... or given up
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from kube.api.core import Pod
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.podinfo import PodInfo

MAX_SCORE = 100.0

# Kinds of cluster events that can make an unschedulable pod schedulable.
NODE_ADD = "NodeAdd"
NODE_ALLOCATABLE = "NodeAllocatableChange"
NODE_LABEL = "NodeLabelChange"
NODE_TAINT = "NodeTaintChange"
POD_ADD = "AssignedPodAdd"
POD_UPDATE = "AssignedPodUpdate"
POD_DELETE = "AssignedPodDelete"


class Skip:
    """The type of SKIP: the pod does not concern the plugin, or another binder shall bind it."""


SKIP: Final = Skip()


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node (or every node) will not do. Not `resolvable`: removing pods would not help."""

    reasons: tuple[str, ...]
    resolvable: bool = False


@dataclass(frozen=True, slots=True)
class Narrowed:
    """From `pre_filter`: only these nodes come into question. `state` as if returned alone."""

    nodes: frozenset[str]
    state: Any = None


@dataclass(frozen=True, slots=True)
class Hold:
    """From `permit`: not before the plugin allows it; given up after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Nominated:
    """From `post_filter`: the pod will fit on this node, once what was done for it has worked."""

    node: str


@dataclass(slots=True)
class Cycle:
    """One attempt at one pod. `state` is what plugins left in it, by their names."""

    pod: PodInfo
    nodes: Sequence[NodeInfo]
    state: dict[str, Any] = field(default_factory=dict)


class Held(Protocol):
    """A pod that has its node and waits for permission (upstream's WaitingPod)."""

    @property
    def pod(self) -> PodInfo: ...

    @property
    def node(self) -> str: ...

    @property
    def pending(self) -> frozenset[str]:
        """The plugins that hold it."""
        ...

    def allow(self, plugin: str) -> None: ...

    def reject(self, plugin: str, reason: str) -> None: ...


class Binder(Protocol):
    """The client, as far as a plugin must know it."""

    async def bind(self, namespace: str, pod: str, node: str, uid: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class Handle:
    """What plugins have of the scheduler."""

    client: Binder
    held: Mapping[str, Held]  # by the pod's uid


class Plugin:
    """Override what the plugin is about. What is not overridden is never called."""

    name = ""
    weight = 1.0
    # Which events may cure this plugin's rejection.
    events: frozenset[str] = frozenset()
    handle: Handle  # set before the first call

    def pre_enqueue(self, pod: Pod) -> Rejection | None:
        """A pod that is rejected is not tried until it changes."""
        return None

    def queue_key(self, pod: Pod, since: float) -> Any:
        """The pod with the smallest key is tried first. `since`: when it was first seen."""

    def pre_filter(self, cycle: Cycle) -> Any:
        """Look at pod and nodes once. Returns the state for `filter`, SKIP (no `filter` then),
        Narrowed, or a Rejection of all nodes."""

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        """Why this node will not do."""
        return None

    def post_filter(
        self, cycle: Cycle, rejections: Mapping[str, Rejection]
    ) -> Nominated | Rejection | None:
        """No node will do: the first plugin that nominates one ends this; reasons are reported."""
        return None

    def pre_score(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> Any:
        """The state for `score`, or SKIP. Not overridden: what `pre_filter` has left."""

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        """How good the node is, on a scale of the plugin's own."""
        return 0.0

    def normalize(self, scores: list[float]) -> list[float]:
        """The scores of all nodes brought to 0..100."""
        return scores

    def reserve(self, cycle: Cycle, node: str) -> Rejection | None:
        """The node is chosen: note what the pod takes there."""
        return None

    def unreserve(self, cycle: Cycle, node: str) -> None:
        """It came to nothing, for whatever reason. Also called when `reserve` was not, or failed;
        must not fail and may be repeated."""

    def permit(self, cycle: Cycle, node: str) -> Rejection | Hold | None:
        """The last word before binding: no, not yet, or yes."""
        return None

    async def pre_bind(self, cycle: Cycle, node: str) -> Rejection | None:
        """Prepare the node for the pod (a volume, say)."""
        return None

    async def bind(self, cycle: Cycle, node: str) -> Skip | None:
        """Bind, or SKIP for the next binder."""
        return SKIP

    def post_bind(self, cycle: Cycle, node: str) -> None:
        """It is bound: tidy up."""


def has(plugin: Plugin, verb: str) -> bool:
    """Whether the plugin overrides the verb."""
    return getattr(type(plugin), verb) is not getattr(Plugin, verb)


def scaled(scores: list[float], *, reverse: bool = False) -> list[float]:
    """Linear to 0..100 by the largest (upstream's DefaultNormalizeScore)."""
    largest = max(scores, default=0.0)
    if largest <= 0:
        return [MAX_SCORE if reverse else 0.0] * len(scores)
    shares = [score * MAX_SCORE / largest for score in scores]
    return [MAX_SCORE - share for share in shares] if reverse else shares
