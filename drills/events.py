"""What a drill sees, as values: the events that observers note, and what the drill did. Pure.

All times are seconds of the observer's clock. A part that watches something new adds its own kind
of event; nothing here has to know it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    at: float
    node: str
    renewed_at: float  # the holder's clock


@dataclass(frozen=True, slots=True)
class NodeSeen:
    at: float
    name: str
    ready: bool
    unreachable: bool  # carries the NoExecute taint node.kubernetes.io/unreachable


@dataclass(frozen=True, slots=True)
class PodSeen:
    at: float
    uid: str
    name: str
    node: str
    deleting: bool
    running: bool
    ready: bool
    gone: bool = False
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class EndpointsSeen:
    """The ready endpoints of the Service, over all its slices."""

    at: float
    ready_pods: frozenset[str]  # pod uids


@dataclass(frozen=True, slots=True)
class RulesSeen:
    """A node's kube-proxy says when its last successful sync was."""

    at: float
    node: str
    synced_at: float


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """What a member of the store says of itself; `up` is false when it does not answer."""

    at: float
    member: str
    up: bool
    leads: bool = False
    has_leader: bool = False


@dataclass(frozen=True, slots=True)
class LeaderSeen:
    """Who holds a leader's Lease of the control plane, such as kube-scheduler."""

    at: float
    lease: str
    holder: str


@dataclass(frozen=True, slots=True)
class ComponentSeen:
    """Whether the port of a component on a machine accepts connections."""

    at: float
    machine: str
    component: str
    up: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the load: a connection of its own, so that each is balanced anew."""

    started: float
    ended: float
    ok: bool
    via: str  # the node whose NodePort was asked, or the kind of load
    answer: str  # the pod that answered, or the error


@dataclass(frozen=True, slots=True)
class ApiWrite(Request):
    """One write to the lab's API: an update of one small object, or a failure."""


@dataclass(frozen=True, slots=True)
class ProbeSeen:
    """One look of a probe: `why` says what did not hold."""

    at: float
    probe: str
    ok: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """What the drill did: to which machines, when, and which of the workload's pods it hit."""

    victims: tuple[str, ...]
    victim_pods: frozenset[str]
    survivors: tuple[str, ...]
    fault_at: float
    healed_at: float | None = None  # when the last undo began
    # What was hit when it was no whole machine: (machine, component).
    components: tuple[tuple[str, str], ...] = ()
    fault: str = ""  # in words: "power cut"

    @property
    def names(self) -> str:
        return ", ".join(self.victims)


class Observations:
    """Events by their kind, each kind in the order of arrival."""

    def __init__(self, events: Iterable[Any] = ()) -> None:
        kinds: dict[type, list[Any]] = {}
        for event in events:
            kinds.setdefault(type(event), []).append(event)
        self._kinds: Mapping[type, Sequence[Any]] = MappingProxyType(kinds)

    def of(self, kind: type[E]) -> Sequence[E]:
        return self._kinds.get(kind, ())

    def __iter__(self) -> Any:
        return (event for events in self._kinds.values() for event in events)


@dataclass(slots=True)
class Seen:
    """The collector that observers, load and probes note their events in."""

    events: list[Any] = field(default_factory=list)

    def note(self, event: object) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if type(event) is kind]

    def frozen(self) -> Observations:
        return Observations(self.events)


def first(times: Iterable[float]) -> float | None:
    return min(times, default=None)


def last(times: Iterable[float | None]) -> float | None:
    """The latest of `times`; None when there is none, or when one of them is still missing."""
    latest: float | None = None
    for at in times:
        if at is None:
            return None
        latest = at if latest is None else max(latest, at)
    return latest
