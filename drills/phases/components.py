"""A component that was killed, stopped or cut off: when its port went, and when it came back."""

from __future__ import annotations

from drills.events import Case, ComponentSeen, Observations, first, last
from drills.phases.base import PhaseKind


def down(case: Case, seen: Observations) -> float | None:
    return last(
        first(
            e.at for e in seen.of(ComponentSeen)
            if (e.machine, e.component) == key and e.at >= case.fault_at and not e.up
        )
        for key in case.components
    )  # fmt: skip


def back(case: Case, seen: Observations) -> float | None:
    since = down(case, seen)
    if since is None:
        return None
    return last(
        first(
            e.at for e in seen.of(ComponentSeen)
            if (e.machine, e.component) == key and e.at >= since and e.up
        )
        for key in case.components
    )  # fmt: skip


def _what(case: Case, _seen: Observations) -> str:
    return ", ".join(f"{component} on {machine}" for machine, component in case.components)


DOWN = PhaseKind(
    "component_down", "component down", "its port refuses connections, or swallows them", down,
    _what, ("components",),
)  # fmt: skip
BACK = PhaseKind(
    "component_back", "component back", "its port accepts connections again", back, _what,
    ("components",),
)  # fmt: skip
