"""A report as one self-contained HTML page: verdict first, then all on one time axis. Pure.

No script, no font, no picture from elsewhere: the page can be mailed. Everything that was given is
escaped. It follows the reader's light or dark scheme, and the width of the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from drills.report.data import Report
from drills.report.plots import Axis, lanes_plot, phases_plot, requests_plot
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

KINDS = {"pass": "good", "passed with warnings": "warn"}

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--paper:#fff;--soft:#f6f8fa;--line:#d1d9e0;
 --muted:#59636e;--good:#1a7f37;--bad:#b42318;--warn:#9a6700;--bar:#0969da}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--soft:#161b22;
 --line:#30363d;--muted:#9198a1;--good:#3fb950;--bad:#ff7b72;--warn:#d29922;--bar:#4493f8}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
 max-width:1000px;margin:2em auto;padding:0 1em}
h1{font-size:1.6em;margin-bottom:.2em;overflow-wrap:anywhere}
h2{font-size:1.15em;margin-top:2em}
.verdict{display:inline-block;color:var(--paper);border-radius:6px;padding:.15em .8em;
 font-weight:600}
.good{background:var(--good)} .bad{background:var(--bad)} .warn{background:var(--warn)}
.facts{display:flex;flex-wrap:wrap;gap:.8em;margin:1.2em 0}
.fact{background:var(--soft);border-radius:8px;padding:.7em 1.1em;flex:1 1 9em}
.fact b{display:block;font-size:1.5em}
.wide{overflow-x:auto} table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3em .7em;border-bottom:1px solid var(--line);vertical-align:top}
svg{width:100%;min-width:640px;height:auto} svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
.grid{stroke:var(--line)} .zero{stroke:var(--bad)} .bar{fill:var(--bar)}
.fault{fill:var(--bad)} .trouble{fill:var(--warn)} .ok{fill:var(--good)}
.muted{color:var(--muted)}
"""


def render(report: Report) -> str:
    axis = Axis.of(report)
    kind = KINDS.get(report.verdict, "bad")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(report.drill)}: {escape(report.verdict)}</title>",
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{escape(report.drill)} on lab {escape(report.lab)}</h1>",
            f'<p><span class="verdict {kind}">{escape(report.verdict)}</span> '
            f"{escape(report.why)}</p>",
            f"<p>{escape(report.description)}</p>",
            f'<p class="muted">{escape(report.started_at[:19])} UTC · {escape(report.fault)}: '
            f"{escape(report.victim)} · {escape(report.profile)} timers</p>",
            *_facts(report),
            "<h2>Service levels</h2>",
            *_table(LEVEL_HEAD, finding_rows(report)),
            "<h2>Recovery</h2>",
            *_plot(phases_plot(report, axis)),
            "<h2>Machines</h2>",
            *_plot(lanes_plot(report, axis)),
            "<h2>Requests</h2>",
            *_plot(requests_plot(report.requests, axis)),
            f'<p class="muted">{escape(request_words(report))} (red); latency on a log scale. '
            f"{escape('; '.join(gap_words(report)))}</p>",
            *_api(report, axis),
            "<h2>Phases</h2>",
            *_table(PHASE_HEAD, phase_rows(report)),
            *_alerts(report),
            *_logs(report),
            *_learn(report),
            "<h2>Undo log</h2>",
            *_table(("when", "by", "what", ""), undo_rows(report)),
            "</body></html>",
        ]
    )


def _api(report: Report, axis: Axis) -> Iterator[str]:
    if report.api_writes:
        yield "<h2>Writes to the API</h2>"
        yield from _plot(requests_plot(report.api_writes, axis))


def _alerts(report: Report) -> Iterator[str]:
    if report.alerts:
        yield "<h2>Alerts</h2>"
        yield (
            '<p class="muted">Whose expression became true, and when each fires, or would if '
            "nothing had changed after the drill.</p>"
        )
        yield from _table(ALERT_HEAD, alert_rows(report))


def _logs(report: Report) -> Iterator[str]:
    if report.logs:
        yield "<h2>What the victims said</h2>"
        yield '<p class="muted">Warnings and errors of their components.</p>'
        yield from _table(LOG_HEAD, log_rows(report))


def _learn(report: Report) -> Iterator[str]:
    if report.learn:
        yield f"<h2>What to learn from it</h2><p>{escape(report.learn)}</p>"


def _facts(report: Report) -> Iterator[str]:
    """The figures that the levels are about; then how many requests there were."""
    yield '<div class="facts">'
    for finding in report.findings:
        text = "–" if finding.measured is None else f"{finding.measured:g}"
        unit = " s" if finding.metric.endswith("_seconds") and finding.measured is not None else ""
        label = finding.metric.removesuffix("_seconds").replace("_", " ")
        yield f'<div class="fact"><b>{text}{unit}</b>{escape(label)}</div>'
    yield f'<div class="fact"><b>{len(report.requests)}</b>requests in all</div></div>'


def _plot(svg: str) -> Iterator[str]:
    yield f'<div class="wide">{svg}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield '<div class="wide"><table><tr>'
    yield "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</table></div>"
