"""Reports of a drill, all made of one value: `data.Report`."""

from __future__ import annotations

from pathlib import Path

from drills.report import junit, markdown, page
from drills.report.data import Report, as_json, from_json
from drills.report.making import report_of

FILES = ("report.json", "report.html", "report.md", "report.xml")


def write(report: Report, folder: Path) -> None:
    """All forms of the report, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(as_json(report))
    (folder / "report.html").write_text(page.render(report), encoding="utf-8")
    (folder / "report.md").write_text(markdown.render(report), encoding="utf-8")
    (folder / "report.xml").write_text(junit.render(report), encoding="utf-8")


__all__ = ["FILES", "Report", "as_json", "from_json", "report_of", "write"]
