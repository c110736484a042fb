"""The runs of a lab that are kept in its state directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from drills.errors import DrillNotFound
from drills.journal import Journal
from drills.journal import runs as journals
from drills.report.data import Report, from_json


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the history."""

    name: str
    drill: str
    verdict: str
    victim: str
    left: str  # to undo, in words


def runs(lab_state: Path) -> list[Run]:
    """All runs of a lab, oldest first; also those whose tool was killed."""
    return [_run(journal) for journal in journals(lab_state)]


def _run(journal: Journal) -> Run:
    left = "; ".join(undo.fault for undo in journal.read())
    name = journal.folder.name
    drill = name.partition("-")[2]
    report = _read(journal.folder / "report.json")
    if report is not None:
        return Run(name=name, drill=drill, verdict=report.verdict, victim=report.victim, left=left)
    by = {line.by for line in journal.lines() if line.event == "healed"}
    verdict = f"killed; undone by {', '.join(sorted(by))}" if by else "no report"
    return Run(name=name, drill=drill, verdict=verdict, victim="", left=left)


def of_lab(lab_state: Path, text: str) -> list[Report]:
    """The reports of a run by its name, or of all runs of a drill."""
    wanted = [run for run in runs(lab_state) if text in (run.name, run.drill)]
    found = [_read(lab_state / "drills" / run.name / "report.json") for run in wanted]
    reports = [report for report in found if report is not None]
    if not reports:
        raise DrillNotFound(
            f'the lab has no report of "{text}"', "`muster drill history` lists its runs"
        )
    return reports


def read(path: Path) -> Sequence[Report]:
    """The report in a file, or all in a folder."""
    files = sorted(path.rglob("report.json")) if path.is_dir() else [path]
    reports = [report for file in files if (report := _read(file)) is not None]
    if not reports:
        raise DrillNotFound(f'"{path}" holds no report of a drill', "give it a report.json")
    return reports


def _read(path: Path) -> Report | None:
    try:
        return from_json(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
