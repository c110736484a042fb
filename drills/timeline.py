"""From what was seen to when each phase of the recovery happened, and to figures. Pure.

A Timeline gives all times relative to the fault. Each phase is read from one event by its own
mark (`phases/`), and every figure that speaks of a phase is made of that same mark.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from drills import phases as parts
from drills.events import ApiWrite, Case, NodeSeen, Observations, PodSeen, ProbeSeen, Request
from drills.phases.base import PhaseKind
from drills.phases.endpoints import rules_withdrawn, withdrawn
from drills.phases.nodes import rejoined
from drills.phases.pods import started

MetricName = Annotated[str, Meta(description="A figure: docs/drills.md lists them.")]

# The name of the figure that a phase is measured by, where it is not `<phase>_seconds`.
RENAMED = {"started": "replacements_running_seconds"}
# Beside those of the declared phases and probes.
FIGURES = (
    "replacements_running_seconds", "endpoints_withdrawn_seconds", "rejoined_seconds",
    "requests", "failed_requests", "failed_requests_while_rules_synced",
    "failed_requests_after_withdrawal", "failed_request_percent", "longest_outage_seconds",
    "requests_before", "api_writes", "failed_api_writes", "api_longest_gap_seconds",
    "evicted_pods", "not_ready_nodes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Phase:
    key: str
    title: str
    seconds: float | None  # after the fault; None when it was not seen
    detail: str = ""
    source: str = ""
    took: float | None = None  # since the latest of the phases before it

    @property
    def seen(self) -> bool:
        return self.seconds is not None


@dataclass(frozen=True, slots=True)
class Timeline:
    phases: tuple[Phase, ...]
    metrics: dict[str, float | None]

    def seconds(self, key: str) -> float | None:
        return next((phase.seconds for phase in self.phases if phase.key == key), None)


def metric_names(keys: Sequence[str], probes: Sequence[str]) -> list[str]:
    """Every figure that a level may name in a drill with these phases and probes."""
    names = [*FIGURES, *(_figure(key) for key in keys if key != "fault")]
    for probe in probes:
        names += [f"{probe}_failures", f"{probe}_longest_failure_seconds"]
    return sorted(set(names))


def build(
    case: Case, seen: Observations, keys: Sequence[str], probes: Sequence[str] = ()
) -> Timeline:
    """Stamp every declared phase and count what clients saw."""
    kinds = [parts.BY_KEY[key] for key in keys]
    marks = {kind.key: kind.mark(case, seen) for kind in kinds}
    phases = _with_durations(
        [
            Phase(
                kind.key, kind.title, _relative(marks[kind.key], case.fault_at),
                kind.detail(case, seen), kind.source,
            )
            for kind in kinds
        ]
    )  # fmt: skip
    return Timeline(
        phases,
        _of_phases(case, kinds, marks)
        | _of_requests(case, seen)
        | _of_api(case, seen)
        | _of_cluster(case, seen)
        | _of_probes(case, seen, probes),
    )


def _with_durations(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Each phase with the time since the latest that was seen before it in the list."""
    reached: float | None = None
    done: list[Phase] = []
    for phase in phases:
        took = None
        if phase.seconds is not None:
            if reached is not None and phase.key != "fault":
                took = round(max(0.0, phase.seconds - reached), 3)
            reached = phase.seconds if reached is None else max(reached, phase.seconds)
        done.append(Phase(phase.key, phase.title, phase.seconds, phase.detail, phase.source, took))
    return tuple(done)


def _figure(key: str) -> str:
    return RENAMED.get(key, f"{key}_seconds")


def _relative(at: float | None, since: float | None) -> float | None:
    return None if at is None or since is None else round(at - since, 3)


def _of_phases(
    case: Case, kinds: Sequence[PhaseKind], marks: dict[str, float | None]
) -> dict[str, float | None]:
    return {
        _figure(kind.key): _relative(
            marks[kind.key], case.healed_at if kind.after_heal else case.fault_at
        )
        for kind in kinds
        if kind.key != "fault"
    }


def _of_requests(case: Case, seen: Observations) -> dict[str, float | None]:
    requests = seen.of(Request)
    during = [r for r in requests if r.ended >= case.fault_at]
    failed = [r for r in during if not r.ok]
    synced, published = rules_withdrawn(case, seen), withdrawn(case, seen)
    late = None if synced is None else float(sum(r.started > synced for r in failed))
    # kube-proxy needs a moment from the API's word to the kernel's; these fell into it.
    syncing = None
    if published is not None and synced is not None:
        syncing = float(sum(published < r.started <= synced for r in failed))
    return {
        "replacements_running_seconds": _relative(started(case, seen), case.fault_at),
        "endpoints_withdrawn_seconds": _relative(published, case.fault_at),
        "rejoined_seconds": _relative(rejoined(case, seen), case.healed_at),
        "failed_requests": float(len(failed)),
        "failed_requests_while_rules_synced": syncing,
        "failed_requests_after_withdrawal": late,
        "failed_request_percent": round(100 * len(failed) / len(during), 2) if during else None,
        "longest_outage_seconds": longest_gap(requests, case.fault_at),
        "requests": float(len(during)),
        "requests_before": float(len(requests) - len(during)),
    }


def _of_api(case: Case, seen: Observations) -> dict[str, float | None]:
    writes = seen.of(ApiWrite)
    during = [w for w in writes if w.ended >= case.fault_at]
    return {
        "api_writes": float(len(during)),
        "failed_api_writes": float(sum(not w.ok for w in during)),
        "api_longest_gap_seconds": longest_gap(writes, case.fault_at),
    }


def _of_cluster(case: Case, seen: Observations) -> dict[str, float | None]:
    """What a fault should often not cause at all."""
    evicted = {p.uid for p in seen.of(PodSeen) if p.at >= case.fault_at and p.deleting}
    before = {p.uid for p in seen.of(PodSeen) if p.at < case.fault_at}
    down = {n.name for n in seen.of(NodeSeen) if n.at >= case.fault_at and not n.ready}
    return {
        "evicted_pods": float(len(evicted & before)),
        "not_ready_nodes": float(len(down)),
    }


def _of_probes(case: Case, seen: Observations, probes: Sequence[str]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {}
    for name in probes:
        looks = [p for p in seen.of(ProbeSeen) if p.probe == name and p.at >= case.fault_at]
        figures[f"{name}_failures"] = float(sum(not p.ok for p in looks)) if looks else None
        figures[f"{name}_longest_failure_seconds"] = _longest_failure(looks)
    return figures


def _longest_failure(looks: Sequence[ProbeSeen]) -> float | None:
    """The longest time from a failed look to the next good one (or to the end)."""
    longest, since = 0.0, None
    for look in looks:
        if not look.ok and since is None:
            since = look.at
        if since is not None:
            longest = max(longest, look.at - since)
        if look.ok:
            since = None
    return round(longest, 3) if looks else None


def longest_gap(requests: Sequence[Request], since: float) -> float | None:
    """The longest time between two good answers, of which the later came after `since`.

    An outage begins with the last good answer before it, be that from before the fault; one that
    did not end lasted until the last request was given up.
    """
    good = sorted(r.ended for r in requests if r.ok)
    ends = [*good, max((r.ended for r in requests), default=since)]
    gaps = [b - a for a, b in itertools.pairwise(ends) if b >= since]
    return round(max(gaps), 3) if good and gaps else None
