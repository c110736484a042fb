"""The page's plots, as SVG on one common time axis. Pure; everything that was given is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

from drills.report.data import Report, RequestPart

WIDTH, LEFT, RIGHT, ROW = 960, 250, 90, 24
STEPS = (1, 2, 5, 10, 20, 60, 120, 300, 600, 1800)
# A page stays small whatever the load was: of good requests at most so many are drawn.
MOST_DOTS = 3000


@dataclass(frozen=True, slots=True)
class Axis:
    """The first and the last second that all plots show, so that they can be read together."""

    low: float
    high: float

    @classmethod
    def of(cls, report: Report) -> Axis:
        times = [p.seconds for p in report.phases if p.seconds is not None]
        times += [r.started for r in (*report.requests, *report.api_writes)]
        times += [s.end for lane in report.lanes for s in lane.spans]
        return cls(min(times, default=0.0), max(times, default=1.0))

    def x(self, at: float) -> float:
        inside = min(max(at, self.low), self.high)
        # Room at the right for the label of the last bar.
        return LEFT + (inside - self.low) / ((self.high - self.low) or 1) * (WIDTH - LEFT - RIGHT)

    def grid(self, height: int) -> Iterator[str]:
        """Lines at round seconds, and the fault in red."""
        span = self.high - self.low or 1
        step = next((s for s in STEPS if span / s <= 12), 3600)
        tick = -(-self.low // step) * step + 0.0  # adding zero turns -0.0 into 0
        while tick <= self.high:
            x = self.x(tick)
            kind = "zero" if tick == 0 else "grid"
            yield (
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 22}" class="{kind}"/>'
                f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{tick:g} s</text>'
            )
            tick += step


def phases_plot(report: Report, axis: Axis) -> str:
    """Each phase as a bar from the one before it: where the time goes."""
    seen = [(phase, phase.seconds) for phase in report.phases if phase.seconds is not None]
    if not seen:
        return "<p>No phase was seen.</p>"
    height = ROW * len(seen) + 30
    parts = [_svg(height), *axis.grid(height)]
    for row, (phase, at) in enumerate(seen):
        y = row * ROW + 4
        fault = phase.key == "fault"
        x0, x1 = axis.x(at - (phase.took or 0.0)), axis.x(at)
        parts.append(
            _label(y, phase.title)
            + f'<rect x="{x0:.1f}" y="{y}" width="{max(x1 - x0, 3):.1f}" height="{ROW - 8}" '
            f'rx="3" class="{"fault" if fault else "bar"}"/>'
            f'<text x="{x1 + 5:.1f}" y="{y + 13}">{at:.2f} s</text>'
        )
    return "".join([*parts, "</svg>"])


def lanes_plot(report: Report, axis: Axis) -> str:
    """A line for each machine and probe: when something was wrong with it."""
    if not report.lanes:
        return "<p>No machine was watched.</p>"
    height = ROW * len(report.lanes) + 30
    parts = [_svg(height), *axis.grid(height)]
    for row, lane in enumerate(report.lanes):
        y = row * ROW + 4
        parts.append(_label(y, lane.name))
        for number, span in enumerate(lane.spans):
            fault = lane.victim and number == 0
            # What went wrong is drawn within the fault's own bar, thinner.
            top, tall = (y, ROW - 8) if fault else (y + 4, ROW - 16)
            x0, x1 = axis.x(span.begin), axis.x(span.end)
            parts.append(
                f'<rect x="{x0:.1f}" y="{top}" width="{max(x1 - x0, 3):.1f}" height="{tall}" '
                f'rx="3" class="{"fault" if fault else "trouble"}" fill-opacity=".75">'
                f"<title>{escape(span.what)}: {span.begin:.2f} s to {span.end:.2f} s</title></rect>"
            )
    return "".join([*parts, "</svg>"])


def requests_plot(requests: Sequence[RequestPart], axis: Axis) -> str:
    """Every request: when it began, how long it took (log scale), whether it failed."""
    if not requests:
        return "<p>No request was sent.</p>"
    height = 220
    parts = [_svg(height), *axis.grid(height)]
    for label, seconds in (("1 ms", 1e-3), ("10 ms", 1e-2), ("100 ms", 1e-1), ("1 s", 1.0)):
        y = _log_y(seconds, height)
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        )
    every = -(-len(requests) // MOST_DOTS)
    for number, request in enumerate(requests):
        if request.ok and number % every:
            continue
        kind, radius = ("ok", 2) if request.ok else ("fault", 3.5)
        parts.append(
            f'<circle cx="{axis.x(request.started):.1f}" '
            f'cy="{_log_y(max(request.seconds, 1e-4), height):.1f}" '
            f'r="{radius}" class="{kind}" fill-opacity=".7"/>'
        )
    return "".join([*parts, "</svg>"])


def _label(y: float, text: str) -> str:
    cut = text if len(text) <= 38 else text[:37] + "…"
    return f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(cut)}</text>'


def _svg(height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg">'


def _log_y(seconds: float, height: int) -> float:
    # 0.1 ms at the bottom, 3 s at the top.
    share = (log10(seconds) + 4) / (log10(3) + 4)
    return (height - 30) * (1 - min(max(share, 0.0), 1.0)) + 5
