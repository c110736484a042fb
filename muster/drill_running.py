"""Running drills from the command line: what is told meanwhile, and what is shown afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drills import engine, report
from drills.errors import NothingRan
from drills.lab import DrillLab
from drills.report import Report, junit, markdown
from drills.report.rows import (
    ALERT_HEAD,
    alert_rows,
    finding_rows,
    gap_words,
    phase_rows,
    request_words,
)
from drills.result import Result
from drills.spec import Drill
from kube.component.timers import PROFILES
from muster.console import stderr
from muster.session import run as until_signalled
from provision.errors import MachinesFailed

NOTHING_RAN = 2
# From the best to the worst: an exit code of several drills is that of the worst.
RANKS = (0, 3, NOTHING_RAN, 1)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose in place of the drill."""

    node: str = ""
    service: str = ""
    seed: int | None = None


def run(drill: Drill, lab: DrillLab, choice: Choice, *, output: str, folder: Path | None) -> Result:
    """Run one drill, show and keep its report. Raises what keeps it from running."""
    progress = stderr()
    _announce(progress, lab)

    def say(text: str) -> None:
        progress.print(escape(text))

    def conclude(result: Result) -> None:
        made = report.report_of(result)
        _print(made, output)
        if made.verdict == "interrupted":
            say("interrupted; " + ("; ".join(_undone(made)) or "nothing was broken"))
        say(f"report: {_keep(made, lab, folder) / 'report.html'}")

    try:
        return until_signalled(
            engine.run(
                drill, lab, node=choice.node, service=choice.service, seed=choice.seed,
                say=say, conclude=conclude,
            )
        )  # fmt: skip
    except MachinesFailed as error:
        raise MachinesFailed(error.message, error.hint or "`muster drill heal` undoes") from error


def several(
    drills: Iterable[Drill], lab: DrillLab, *, interval: float = 0, until_fail: bool = False,
    settle: bool = False,
) -> int:  # fmt: skip
    """Run drills one after the other and give a score; the exit code of the worst.

    With `settle`, one that cannot run (a machine that it needs, a tool) counts and stops nothing.
    """
    rows: list[tuple[str, str, str]] = []
    codes: list[int] = []
    for drill in drills:
        began = time.monotonic()
        try:
            result = run(drill, lab, Choice(), output="none", folder=None)
            codes.append(result.verdict.exit_code)
            rows.append((drill.metadata.name, result.verdict.value, _broken(result)))
        except NothingRan as error:
            if not settle:
                raise
            codes.append(NOTHING_RAN)
            rows.append((drill.metadata.name, "nothing ran", error.message))
        if until_fail and codes[-1] == 1:
            break
        time.sleep(max(0.0, interval - (time.monotonic() - began)))
    _score(rows, codes)
    return max(codes, key=RANKS.index, default=0)


def _broken(result: Result) -> str:
    return ", ".join(f.metric for f in result.findings if not f.met)


def _score(rows: list[tuple[str, str, str]], codes: list[int]) -> None:
    table = Table("DRILL", "VERDICT", "NOT MET", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    console = wide_console()
    console.print(table)
    ran = [code for code in codes if code != NOTHING_RAN]
    passed = sum(code in (0, 3) for code in ran)
    console.print(f"score: {passed} of {len(ran)} passed, {len(codes) - len(ran)} could not run")


def _keep(made: Report, lab: DrillLab, folder: Path | None) -> Path:
    """Write the reports: to the run's own folder, for the history, and to where they were asked."""
    own = lab.spec.state_dir / "drills" / made.run
    report.write(made, own)
    if folder is not None:
        report.write(made, folder)
    return folder or own


def _undone(made: Report) -> list[str]:
    return [line.text for line in made.undo if line.event == "healed"]


def _print(made: Report, output: str) -> None:
    forms: dict[str, Callable[[Report], str]] = {
        "json": lambda made: report.as_json(made).decode(),
        "yaml": lambda made: yaml.safe_dump(json.loads(report.as_json(made)), sort_keys=False),
        "markdown": markdown.render,
        "junit": junit.render,
    }
    if output == "none":
        click.echo(f"{made.drill}: {made.verdict}")
    elif output in forms:
        click.echo(forms[output](made), nl=False)
    else:
        _show(wide_console(), made)


def wide_console() -> Console:
    """As wide as what it prints, where no terminal sets a width: a pipe gets whole lines."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _announce(console: Console, lab: DrillLab) -> None:
    timers = PROFILES[lab.profile]
    console.print(
        f"lab {lab.spec.name}, timer profile {lab.profile}: grace "
        f"{timers.node_monitor_grace_period:g} s, toleration "
        f"{timers.default_unreachable_toleration:g} s; eviction expected within "
        f"{timers.predicted_eviction():g} s"
    )


def _show(console: Console, made: Report) -> None:
    phases = Table("AFTER THE FAULT", "TOOK", "PHASE", "", box=None, pad_edge=False)
    phases.columns[0].justify = phases.columns[1].justify = "right"
    levels = Table("", "LEVEL", "MEASURED", "LIMIT", box=None, pad_edge=False)
    alerts = Table(*map(str.upper, ALERT_HEAD), box=None, pad_edge=False)
    filled = (phases, phase_rows(made)), (levels, finding_rows(made)), (alerts, alert_rows(made))
    for table, rows in filled:
        for row in rows:
            table.add_row(*map(escape, row))
    console.print(phases)
    console.print("\n" + escape("\n".join([request_words(made), *gap_words(made)])) + "\n")
    if made.alerts:
        console.print(alerts)
        console.print()
    console.print(levels)
    why = f": {escape(made.why)}" if made.why else ""
    console.print(f"\nverdict: [bold]{made.verdict}[/bold]{why}")
