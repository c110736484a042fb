"""What a drill brings home: everything that was seen, and what was made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from drills.alerts import AlertSeen
from drills.events import Case, Observations
from drills.journal import Line
from drills.logs import LogSeen
from drills.spec import Drill
from drills.timeline import Timeline
from drills.verdict import Finding, Verdict


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
    undo: Sequence[Line] = ()
    why: str = ""  # why it was cut short
    alerts: tuple[AlertSeen, ...] = ()
    logs: tuple[LogSeen, ...] = ()
