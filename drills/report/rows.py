"""Reports as rows of text, for a terminal, Markdown and the page alike. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from drills.report.data import Report

PHASE_HEAD = ("after the fault", "took", "phase", "")
ALERT_HEAD = ("true from", "until", "alert", "severity", "fires", "")
LOG_HEAD = ("when", "machine", "component", "")
LEVEL_HEAD = ("", "level", "measured", "limit")


def phase_rows(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """(time, duration, phase, detail); a phase that was not seen says so."""
    for phase in report.phases:
        when = "not seen" if phase.seconds is None else f"{phase.seconds:+.2f} s"
        took = "" if phase.took is None else f"{phase.took:.2f} s"
        yield when, took, phase.title, phase.detail


def finding_rows(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """(verdict, level, measured, limit)."""
    for finding in report.findings:
        word = "ok" if finding.met else finding.severity
        measured = "not measured" if finding.measured is None else f"{finding.measured:g}"
        sign = "≥" if finding.at_least else "≤"
        yield word, finding.metric.replace("_", " "), measured, f"{sign} {finding.limit:g}"


def request_words(report: Report) -> str:
    """How many requests there were, in one sentence that all reports share."""
    total = len(report.requests)
    before = int(report.metrics.get("requests_before") or 0)
    failed = sum(not r.ok for r in report.requests)
    return (
        f"{total} requests, {before} before the fault and {total - before} after; {failed} failed"
    )


def gap_words(report: Report) -> list[str]:
    """What the failures mean, a sentence each."""
    metrics = report.metrics
    said = []
    if (gap := metrics.get("longest_outage_seconds")) is not None:
        said.append(f"longest gap between good answers {gap:g} s")
    while_syncing = metrics.get("failed_requests_while_rules_synced")
    late = metrics.get("failed_requests_after_withdrawal")
    if while_syncing is not None and late is not None:
        said.append(
            f"{while_syncing:g} failed between the withdrawal in the API and in every node's "
            f"rules, {late:g} after that"
        )
    if report.api_writes:
        gap = metrics.get("api_longest_gap_seconds")
        said.append(
            f"{len(report.api_writes)} writes to the API, "
            f"{sum(not w.ok for w in report.api_writes)} failed"
            + (f", longest gap {gap:g} s" if gap is not None else "")
        )
    return said


def alert_rows(report: Report) -> Iterator[tuple[str, str, str, str, str, str]]:
    """(from, until, name, severity, when it fires, labels); seconds after the fault."""
    for alert in report.alerts:
        until = "the end" if alert.end is None else f"{alert.end:+.0f} s"
        fires = "no, it went before" if alert.fires is None else f"{alert.fires:+.0f} s"
        yield f"{alert.begin:+.0f} s", until, alert.name, alert.severity, fires, alert.about


def log_rows(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """(time, machine, component, words)."""
    for line in report.logs:
        yield f"{line.seconds:+.2f} s", line.machine, line.component, line.text


def undo_rows(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """(time, by whom, what, words)."""
    for line in report.undo:
        yield f"{line.seconds:+.2f} s", line.by, line.event, line.text
