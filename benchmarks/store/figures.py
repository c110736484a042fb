"""The lines of the result: what was measured on both sides, and the ratio."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.store.clusters import ETCD, MUSTER, PROGRAMS


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    unit: str
    more_is_better: bool = True
    goal: float | None = None  # what our figure divided by etcd's should reach, or stay below


@dataclass(slots=True)
class Figures:
    """Filled round by round; `notes` is what a reader must know to trust or doubt a line."""

    values: dict[Line, dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    conditions: dict[str, str] = field(default_factory=dict)

    def add(self, line: Line, program: str, value: float) -> None:
        sides = self.values.setdefault(line, {name: [] for name in PROGRAMS})
        sides[program].append(value)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def ratio(self, line: Line) -> float | None:
        ours, theirs = (self.median(line, program) for program in (MUSTER, ETCD))
        return ours / theirs if ours is not None and theirs else None

    def median(self, line: Line, program: str) -> float | None:
        values = self.values[line][program]
        return statistics.median(values) if values else None

    def met(self, line: Line) -> bool | None:
        ratio = self.ratio(line)
        if line.goal is None or ratio is None:
            return None
        return ratio >= line.goal if line.more_is_better else ratio <= line.goal

    def table(self) -> str:
        """Markdown, so that it can be pasted into a document."""
        lines = [f"- {name}: {value}" for name, value in self.conditions.items()]
        lines += [
            "",
            "| | unit | ours: median (min–max) | etcd: median (min–max) | ours / etcd | goal |",
            "|---|---|---|---|---|---|",
        ]
        lines += [self._row(line) for line in self.values]
        lines += ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join(lines)

    def _row(self, line: Line) -> str:
        ours, theirs = (_spread(self.values[line][program]) for program in (MUSTER, ETCD))
        ratio = self.ratio(line)
        shown = "–" if ratio is None else f"{ratio:.2f}"
        goal = ""
        if line.goal is not None:
            verdict = "met" if self.met(line) else "missed"
            goal = f"{'≥' if line.more_is_better else '≤'} {line.goal:g} {verdict}"
        return f"| {line.name} | {line.unit} | {ours} | {theirs} | {shown} | {goal} |"

    def json(self) -> dict[str, Any]:
        return {
            "conditions": self.conditions,
            "lines": list(self._json_lines()),
            "notes": self.notes,
        }

    def _json_lines(self) -> Iterator[dict[str, Any]]:
        for line, sides in self.values.items():
            yield {
                "name": line.name,
                "unit": line.unit,
                "better": "more" if line.more_is_better else "less",
                **{name: _summary(values) for name, values in sides.items()},
                "ratio": self.ratio(line),
                "goal": line.goal,
                "met": self.met(line),
            }


def _summary(values: list[float]) -> dict[str, Any]:
    if not values:
        return {"values": []}
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": values,
    }


def _spread(values: list[float]) -> str:
    if not values:
        return "–"
    middle = short(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({short(min(values))}–{short(max(values))})"


def short(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
