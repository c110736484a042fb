"""A drill's result as JSON and as lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from provision.drills.result import Result


def as_json(result: Result) -> bytes:
    """Everything that was measured, for machines: `report.json` of a run."""
    return msgspec.json.format(msgspec.json.encode(document(result)), indent=2)


def document(result: Result) -> dict[str, Any]:
    fault_at = result.case.fault_at
    return {
        "apiVersion": "muster/v1",
        "kind": "DrillReport",
        "drill": result.drill.metadata.name,
        "lab": result.lab,
        "profile": result.profile,
        "run": result.run_id,
        "startedAt": result.started_at.isoformat(),
        "victim": result.case.victim,
        "verdict": result.verdict.value,
        "findings": [
            {
                "metric": finding.metric,
                "limit": finding.limit,
                "measured": finding.measured,
                "severity": finding.severity,
                "met": finding.met,
            }
            for finding in result.findings
        ],
        "phases": [
            {"key": p.key, "title": p.title, "seconds": p.seconds, "detail": p.detail}
            for p in result.timeline.phases
        ],
        "metrics": result.timeline.metrics,
        "requests": [
            {
                "started": round(r.started - fault_at, 4),
                "seconds": round(r.ended - r.started, 4),
                "ok": r.ok,
                "via": r.via,
                "answer": r.answer,
            }
            for r in result.observations.requests
        ],
    }


def phase_rows(result: Result) -> Iterator[tuple[str, str, str]]:
    """(time, phase, detail) for a table; a phase that was not seen says so."""
    for phase in result.timeline.phases:
        when = "not seen" if phase.seconds is None else f"{phase.seconds:+.2f} s"
        yield when, phase.title, phase.detail


def finding_rows(result: Result) -> Iterator[tuple[str, str, str, str]]:
    """(verdict, level, measured, limit) for a table."""
    for finding in result.findings:
        word = "ok" if finding.met else finding.severity
        measured = "not measured" if finding.measured is None else f"{finding.measured:g}"
        yield word, finding.metric.replace("_", " "), measured, f"≤ {finding.limit:g}"
