"""What a drill brings home: everything that was seen, and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from provision.drills.spec import Drill
from provision.drills.timeline import Case, Observations, Timeline
from provision.drills.verdict import Finding, Verdict


@dataclass(frozen=True, slots=True)
class Result:
    drill: Drill
    lab: str
    profile: str
    run_id: str
    started_at: datetime
    case: Case
    observations: Observations
    timeline: Timeline
    verdict: Verdict
    findings: tuple[Finding, ...]
