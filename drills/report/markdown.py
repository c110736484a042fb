"""A report as Markdown, to paste into an issue. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from drills.report.data import Report
from drills.report.rows import (
    ALERT_HEAD,
    LEVEL_HEAD,
    LOG_HEAD,
    PHASE_HEAD,
    alert_rows,
    finding_rows,
    gap_words,
    log_rows,
    phase_rows,
    request_words,
    undo_rows,
)


def render(report: Report) -> str:
    lines = [
        f"# {_cell(report.drill)}: {_cell(report.verdict)}",
        "",
        f"Lab {_cell(report.lab)}, {_cell(report.profile)} timers, {_cell(report.started_at)}. "
        f"{_cell(report.fault)}: {_cell(report.victim)}.",
        *([f"\n**{_cell(report.why)}**"] if report.why else []),
        "",
        "## Service levels",
        "",
        *_table(LEVEL_HEAD, finding_rows(report)),
        "",
        "## Phases",
        "",
        *_table(PHASE_HEAD, phase_rows(report)),
        "",
        f"{request_words(report)}. {'; '.join(gap_words(report))}.",
        "",
        *(["## Alerts", "", *_table(ALERT_HEAD, alert_rows(report)), ""] if report.alerts else []),
        *(
            ["## What the victims said", "", *_table(LOG_HEAD, log_rows(report)), ""]
            if report.logs
            else []
        ),
        "## Undo log",
        "",
        *_table(("when", "by", "what", ""), undo_rows(report)),
    ]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        _row(head),
        _row(["---"] * len(head)),
        *(_row([_cell(cell) for cell in row]) for row in rows),
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    """Text that stays text: no markup, no HTML, one line."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", flat)
