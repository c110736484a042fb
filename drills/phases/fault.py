"""What the drill itself did."""

from __future__ import annotations

from drills.events import Case, Observations
from drills.phases.base import PhaseKind, victims


def _fault(case: Case, _seen: Observations) -> float | None:
    return case.fault_at


def _healed(case: Case, _seen: Observations) -> float | None:
    return case.healed_at


def _what(case: Case, _seen: Observations) -> str:
    return f"{case.fault}: {case.names}" if case.fault else case.names


FAULT = PhaseKind("fault", "fault", "the drill, just before it acts", _fault, _what)
POWER_ON = PhaseKind(
    "power_on", "machine switched on again", "the drill, as it begins to undo", _healed, victims,
    after_heal=True,
)  # fmt: skip
HEALED = PhaseKind(
    "healed", "fault taken back", "the drill, as it begins to undo", _healed, victims,
    after_heal=True,
)  # fmt: skip
