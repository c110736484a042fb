"""What a phase is: an instant of a recovery, and the event that it is read from. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drills.events import Case, Observations

Mark = Callable[[Case, Observations], float | None]
Detail = Callable[[Case, Observations], str]


def no_detail(_case: Case, _seen: Observations) -> str:
    return ""


def victims(case: Case, _seen: Observations) -> str:
    return case.names


def survivors(case: Case, _seen: Observations) -> str:
    return "on " + ", ".join(case.survivors)


@dataclass(frozen=True, slots=True)
class PhaseKind:
    """`mark` gives the instant of the observer's clock, or None while it was not seen."""

    key: str
    title: str
    source: str  # which event it is read from, and who says so
    mark: Mark
    detail: Detail = no_detail
    observers: tuple[str, ...] = ()  # who must watch for it
    after_heal: bool = False  # belongs to the way back, and is measured from the undo
