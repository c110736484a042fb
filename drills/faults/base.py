"""What a fault is: whom it hits, what it needs, how it acts, and how it is taken back.

A fault is one file with one class: its fields are its parameters in a drill's document, `undo`
says as data how to take it back (and may look at the lab first), `inject` acts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Annotated, ClassVar

from msgspec import Meta

from drills.base import ByProfile, Number, Seconds, Strict
from drills.lab import DrillLab
from drills.targets import Target
from drills.undo import AnyStep


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be there for a fault to act."""

    verbs: tuple[str, ...] = ()  # of the provider
    fabric: bool = False  # a provider that has the machines' network in hand
    disks: bool = False  # and one that has their disks
    tools: tuple[str, ...] = ()  # programs or files in the machine
    api: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """The Service whose requests and pods the drill follows."""

    namespace: str
    service: str
    node_port: int
    selector: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HitPod:
    """A pod of the workload that a fault hits."""

    namespace: str
    name: str
    uid: str
    node: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Where one fault of a run acts. `key` names what it leaves behind, to be found again."""

    lab: DrillLab
    key: str
    victims: tuple[str, ...]
    # The other side, for faults that have one; else every other machine.
    others: tuple[str, ...] = ()
    # The workload's pods that it hits.
    pods: tuple[HitPod, ...] = ()
    chance: Random = field(default_factory=Random)


class Fault(Strict, frozen=True, kw_only=True, tag_field="fault"):
    """What every fault may say beside its own parameters."""

    target: Annotated[Target, Meta(description="Whom it hits.")] = Target()
    delay_seconds: Annotated[Seconds, Meta(description="Wait before it acts.")] = 0
    jitter_seconds: Annotated[Seconds, Meta(description="And up to so much more, by chance.")] = 0
    duration_seconds: Annotated[
        Number | None,
        Meta(description="When it is taken back. Left out: after the recovery was seen."),
    ] = None
    repeat: Annotated[int, Meta(ge=1, le=1000, description="How often.")] = 1
    pause_seconds: Annotated[Seconds, Meta(description="Between two of them.")] = 1
    limit_seconds: Annotated[
        Number, Meta(description="When it ends at the latest, whatever happens to the drill.")
    ] = ByProfile(fast=120, kubernetes=900)

    title: ClassVar[str] = ""  # of the event, as in a table of phases
    needs: ClassVar[Needs] = Needs()
    # What is gone while it lasts: whole machines count against quorum and the last replica.
    takes_machines: ClassVar[bool] = False
    # The workload's pods on its victims are lost to it, as far as the control plane can tell.
    takes_pods: ClassVar[bool] = False
    # It is over as soon as it has acted; its undo only makes sure.
    instant: ClassVar[bool] = False

    def words(self, scene: Scene) -> str:
        return f"{self.title} of {', '.join(scene.victims)}"

    def components(self) -> tuple[str, ...]:
        """What is hit on the victims, when not all of them."""
        return ()

    def hits(self, on_victims: Sequence[HitPod]) -> tuple[HitPod, ...]:
        """Which of the workload's pods on its victims are lost to it."""
        return tuple(on_victims) if self.takes_pods else ()

    def refuse(self, scene: Scene) -> None:
        """Raise NothingRan for victims that it must not act on."""

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        """How to take it back. Looks, but changes nothing. Empty: it ends by itself."""
        raise NotImplementedError  # a Struct cannot be an abstract class

    async def inject(self, scene: Scene) -> None:
        raise NotImplementedError  # a Struct cannot be an abstract class


def names(victims: Sequence[str]) -> str:
    return ", ".join(victims)
