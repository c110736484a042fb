"""What clients noticed: good answers of the Service and of the API."""

from __future__ import annotations

from drills.events import ApiWrite, Case, Observations, Request, first
from drills.phases.base import PhaseKind
from drills.phases.endpoints import rules_synced


def _first_good(case: Case, seen: Observations) -> float | None:
    synced = rules_synced(case, seen)
    if synced is None:
        return None
    return first(r.ended for r in seen.of(Request) if r.ok and r.started >= synced)


def _answers_again(case: Case, seen: Observations) -> float | None:
    """The first good answer to a request that began after the last failure."""
    failed = [r.started for r in seen.of(Request) if not r.ok and r.started >= case.fault_at]
    since = max(failed, default=case.fault_at)
    return first(r.ended for r in seen.of(Request) if r.ok and r.started >= since)


def _writes_again(case: Case, seen: Observations) -> float | None:
    """The same for writes to the API."""
    failed = [r.started for r in seen.of(ApiWrite) if not r.ok and r.started >= case.fault_at]
    since = max(failed, default=case.fault_at)
    return first(r.ended for r in seen.of(ApiWrite) if r.ok and r.started >= since)


def _answers_after_heal(case: Case, seen: Observations) -> float | None:
    on = case.healed_at
    return None if on is None else first(
        r.ended for r in seen.of(Request) if r.ok and r.started >= on
    )  # fmt: skip


FIRST_GOOD = PhaseKind(
    "first_good_request", "first good request with all in place",
    "the load's first good answer after the rules were synced everywhere", _first_good,
    observers=("endpoints", "pods", "rules"),
)  # fmt: skip
ANSWERS_AGAIN = PhaseKind(
    "service_answers", "Service answers",
    "the load's first good answer after its last failure", _answers_again,
)  # fmt: skip
API_ANSWERS = PhaseKind(
    "api_answers", "API takes writes",
    "the API load's first good answer after its last failure", _writes_again,
)  # fmt: skip
GOOD_AFTER_HEAL = PhaseKind(
    "good_after_heal", "good request after the undo", "the load's first good answer after the undo",
    _answers_after_heal, after_heal=True,
)  # fmt: skip
