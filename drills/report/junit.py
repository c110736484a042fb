"""A report as JUnit XML: a test case for each service level, and one for the run itself. Pure."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from drills.report.data import FindingPart, Report

# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def render(report: Report) -> str:
    cases = [_run(report), *(_level(report, finding) for finding in report.findings)]
    failures = sum("<failure" in case for case in cases)
    skipped = sum("<skipped" in case for case in cases)
    head = (
        f"<testsuite name={_attribute(report.drill)} timestamp={_attribute(report.started_at)} "
        f'tests="{len(cases)}" failures="{failures}" errors="0" skipped="{skipped}">'
    )
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>", ""])


def _run(report: Report) -> str:
    broken = report.verdict in ("interrupted", "aborted") or bool(report.why)
    inside = f"<failure message={_attribute(report.verdict)}>{_text(report.why)}</failure>"
    return _case(report, "the drill ran to its end", inside if broken else "")


def _level(report: Report, finding: FindingPart) -> str:
    sign = "at least" if finding.at_least else "at most"
    measured = "not measured" if finding.measured is None else f"measured {finding.measured:g}"
    words = f"{measured}, {sign} {finding.limit:g} is allowed"
    inside = ""
    if not finding.met:
        # JUnit knows no warnings; a skipped case is shown, and fails nothing.
        tag = "failure" if finding.severity == "fail" else "skipped"
        inside = f"<{tag} message={_attribute(words)}/>"
    return _case(report, finding.metric, inside)


def _case(report: Report, name: str, inside: str) -> str:
    head = f"<testcase classname={_attribute(report.drill)} name={_attribute(name)}"
    return f"{head}>{inside}</testcase>" if inside else f"{head}/>"


def _attribute(text: str) -> str:
    return quoteattr(_NO_XML.sub("?", text))


def _text(text: str) -> str:
    return escape(_NO_XML.sub("?", text))
