"""A drill's result as one self-contained HTML page: verdict, timeline, plots, levels. Pure.

No script, no font, no picture from elsewhere: the page can be mailed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import log10

from provision.drills.report import finding_rows, phase_rows
from provision.drills.result import Result
from provision.drills.timeline import Phase, Request

WIDTH, LEFT, RIGHT = 960, 250, 30
ROW = 24
COLOURS = {"pass": "#1a7f37", "fail": "#b42318", "passed with warnings": "#9a6700"}

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1f2328;max-width:1000px;margin:2em auto;
 padding:0 1em}
h1{font-size:1.6em;margin-bottom:.2em} h2{font-size:1.15em;margin-top:2em}
.verdict{display:inline-block;color:#fff;border-radius:6px;padding:.15em .8em;font-weight:600}
.facts{display:flex;flex-wrap:wrap;gap:1.2em;margin:1.2em 0}
.fact{background:#f6f8fa;border-radius:8px;padding:.7em 1.1em}
.fact b{display:block;font-size:1.5em} table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3em .7em;border-bottom:1px solid #d1d9e0;vertical-align:top}
td.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
svg{width:100%;height:auto} svg text{font:12px system-ui,sans-serif;fill:#1f2328}
.muted{color:#59636e}
"""


def render(result: Result) -> str:
    drill = result.drill.metadata
    verdict = result.verdict.value
    colour = COLOURS[verdict]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(drill.name)}: {escape(verdict)}</title>",
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{escape(drill.name)} on lab {escape(result.lab)}</h1>",
            f'<p><span class="verdict" style="background:{colour}">{escape(verdict)}</span></p>',
            f"<p>{escape(drill.description)}</p>",
            f'<p class="muted">{result.started_at:%Y-%m-%d %H:%M:%S} UTC · victim '
            f"{escape(result.case.victim)} · {escape(result.profile)} timers</p>",
            *_facts(result),
            "<h2>Recovery</h2>",
            gantt(result.timeline.phases, *span(result)),
            "<h2>Requests</h2>",
            requests_plot(result.observations.requests, result.case.fault_at, *span(result)),
            "<h2>Service levels</h2>",
            *_table(("", "level", "measured", "limit"), finding_rows(result)),
            "<h2>Phases</h2>",
            *_table(("after the fault", "phase", ""), phase_rows(result)),
            "</body></html>",
        ]
    )


def _facts(result: Result) -> Iterator[str]:
    metrics = result.timeline.metrics
    yield '<div class="facts">'
    for label, value, unit in (
        ("replacements Running after", metrics["replacements_running_seconds"], " s"),
        ("requests sent", metrics["requests"], ""),
        ("requests failed", metrics["failed_requests"], ""),
        ("failed after withdrawal", metrics["failed_requests_after_withdrawal"], ""),
        ("node back after power-on", metrics["rejoined_seconds"], " s"),
    ):
        text = "–" if value is None else f"{value:g}{unit}"
        yield f'<div class="fact"><b>{text}</b>{escape(label)}</div>'
    yield "</div>"


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</table>"


def span(result: Result) -> tuple[float, float]:
    """The first and the last second that the plots show, so that they can be read together."""
    times = [p.seconds for p in result.timeline.phases if p.seconds is not None]
    times += [r.started - result.case.fault_at for r in result.observations.requests]
    return min(times), max(times)


def gantt(phases: Sequence[Phase], low: float, high: float) -> str:
    """Each phase as a bar from the one before it: where the time goes."""
    seen = [(phase, phase.seconds) for phase in phases if phase.seconds is not None]
    if not seen:
        return "<p>No phase was seen.</p>"
    height = ROW * len(seen) + 30
    parts = [_svg(height), *_axis(low, high, height)]
    before = min(at for _, at in seen)
    for row, (phase, at) in enumerate(seen):
        y = row * ROW + 4
        # The fault is an instant of its own, nothing that the time before it led to.
        fault = phase.key == "fault"
        x0, x1 = _x(at if fault else before, low, high), _x(at, low, high)
        x0, x1 = min(x0, x1), max(x0, x1)
        colour = "#b42318" if fault else "#0969da"
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(phase.title)}</text>'
            f'<rect x="{x0:.1f}" y="{y}" width="{max(x1 - x0, 3):.1f}" height="{ROW - 8}" '
            f'rx="3" fill="{colour}"/>'
            f'<text x="{x1 + 5:.1f}" y="{y + 13}">{at:.2f} s</text>'
        )
        before = max(before, at)
    return "".join([*parts, "</svg>"])


def requests_plot(requests: Sequence[Request], fault_at: float, low: float, high: float) -> str:
    """Every request: when it began, how long it took (log scale), whether it failed."""
    if not requests:
        return "<p>No request was sent.</p>"
    points = [(r.started - fault_at, max(r.ended - r.started, 1e-4), r.ok) for r in requests]
    height = 220
    parts = [_svg(height), *_axis(low, high, height)]
    for label, seconds in (("1 ms", 1e-3), ("10 ms", 1e-2), ("100 ms", 1e-1), ("1 s", 1.0)):
        y = _log_y(seconds, height)
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d1d9e0"/>'
        )
    for at, took, ok in points:
        colour, radius = ("#1a7f37", 2) if ok else ("#b42318", 3.5)
        parts.append(
            f'<circle cx="{_x(at, low, high):.1f}" cy="{_log_y(took, height):.1f}" '
            f'r="{radius}" fill="{colour}" fill-opacity=".7"/>'
        )
    failed = sum(not ok for _, _, ok in points)
    caption = f"{len(points)} requests, {failed} failed (red); latency on a log scale"
    return "".join([*parts, "</svg>", f'<p class="muted">{caption}</p>'])


def _svg(height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg">'


def _x(at: float, low: float, high: float) -> float:
    # Leave room at the right for the label of the last bar.
    return LEFT + (at - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT - 60)


def _log_y(seconds: float, height: int) -> float:
    # 0.1 ms at the bottom, 3 s at the top.
    share = (log10(seconds) + 4) / (log10(3) + 4)
    return (height - 30) * (1 - min(max(share, 0.0), 1.0)) + 5


def _axis(low: float, high: float, height: int) -> Iterator[str]:
    """Grid lines at round seconds, and the fault in red."""
    span = high - low or 1
    step = next((s for s in (1, 2, 5, 10, 20, 60, 120) if span / s <= 12), 300)
    # Adding zero turns -0.0 into 0.
    tick = -(-low // step) * step + 0.0
    while tick <= high:
        x = _x(tick, low, high)
        colour = "#b42318" if tick == 0 else "#eaeef2"
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 22}" stroke="{colour}"/>'
            f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{tick:g} s</text>'
        )
        tick += step
