"""Two runs side by side, or two groups of runs: medians, and how far they spread. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from drills.report.data import Report

Row = tuple[str, str, str, str]


def compare(first: Sequence[Report], second: Sequence[Report]) -> Iterator[Row]:
    """(what, first, second, difference): verdicts, then phases, then figures."""
    yield "runs", str(len(first)), str(len(second)), ""
    yield "verdicts", _verdicts(first), _verdicts(second), ""
    titles = {p.key: p.title for report in (*first, *second) for p in report.phases}
    for key, title in titles.items():
        yield _row(title, _phase(first, key), _phase(second, key), " s")
    names = {name: None for report in (*first, *second) for name in report.metrics}
    for name in names:
        yield _row(name.replace("_", " "), _metric(first, name), _metric(second, name), "")


def _verdicts(reports: Sequence[Report]) -> str:
    said = [report.verdict for report in reports]
    return ", ".join(f"{said.count(v)} × {v}" if len(said) > 1 else v for v in dict.fromkeys(said))


def _phase(reports: Sequence[Report], key: str) -> list[float]:
    return [p.seconds for r in reports for p in r.phases if p.key == key and p.seconds is not None]


def _metric(reports: Sequence[Report], name: str) -> list[float]:
    return [value for r in reports if (value := r.metrics.get(name)) is not None]


def _row(what: str, first: Sequence[float], second: Sequence[float], unit: str) -> Row:
    difference = ""
    if first and second:
        change = median(second) - median(first)
        difference = f"{change:+.2f}{unit}"
    return what, spread(first, unit), spread(second, unit), difference


def spread(values: Sequence[float], unit: str = "") -> str:
    """The median, and from where to where it goes."""
    if not values:
        return "–"
    middle = f"{median(values):.2f}{unit}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.2f} … {max(values):.2f})"
