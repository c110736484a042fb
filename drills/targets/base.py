"""What targets are chosen from: the lab's machines, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from drills.errors import NothingRan


class NoTarget(NothingRan):
    """Nothing in the lab is what the drill wants to hit."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A machine: `pods` of the workload run on it, `labels` are its node's."""

    name: str
    role: str
    pods: int = 0
    labels: Mapping[str, str] | None = None  # None: it has no node


class View(Protocol):
    """What a target may ask of the lab."""

    @property
    def candidates(self) -> Sequence[Candidate]: ...

    async def leader_of(self, what: str) -> str:
        """The machine that leads the store, or that holds a component's Lease; "" for none."""
        ...
