"""`muster drill ...`: break a running lab on purpose, and see how it recovers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from click.shell_completion import CompletionItem
from rich.markup import escape
from rich.table import Table

from drills import document, history
from drills.compare import compare
from drills.heal import heal
from drills.lab import running_lab
from drills.report import Report
from drills.skeleton import SKELETON
from muster import drill_running as running
from muster import options
from muster import output as forms
from muster.drill_running import Choice
from muster.session import run as until_signalled
from provision.errors import ProvisionError

COLUMNS: tuple[forms.Column, ...] = (
    ("NAME", lambda drill: drill["name"]),
    ("MASTERS", lambda drill: drill["masters"]),
    ("FAULTS", lambda drill: drill["faults"]),
    ("DESCRIPTION", lambda drill: drill["description"]),
)
RUNS: tuple[forms.Column, ...] = (
    ("RUN", lambda run: run["name"]),
    ("VERDICT", lambda run: run["verdict"]),
    ("VICTIM", lambda run: run["victim"]),
    ("LEFT", lambda run: run["left"]),
)
SET = click.option(
    "--set", "settings", multiple=True, metavar="PATH=VALUE",
    help="Change the drill: --set spec.load.requestsPerSecond=50 (may be repeated).",
)  # fmt: skip


def _drills(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Those that come with Muster, and the shell's own files."""
    known = [drill.metadata for drill in document.catalog()]
    found = [CompletionItem(m.name, help=m.description) for m in known if m.name.startswith(text)]
    return found or [CompletionItem(text, type="file")]


def _runs(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    try:
        lab = running_lab(context.params.get("name") or "default")
    except ProvisionError:
        return []
    names = [run.name for run in history.runs(lab.spec.state_dir)]
    return [CompletionItem(name) for name in names if name.startswith(text)]


DRILL = click.argument("drill_name", metavar="DRILL", shell_complete=_drills)


@click.group()
def drill() -> None:
    """Break a running lab on purpose, and see how it recovers.

    DRILL is the name of one that comes with Muster (`muster drill list`), or the path of a file.
    """


@drill.command("list")
@forms.option
def list_(output: str) -> None:
    """The drills that come with Muster."""
    drills = [msgspec.to_builtins(drill) for drill in document.catalog()]
    rows = [
        d["metadata"]
        | {
            "masters": d["spec"]["minMasters"],
            "faults": ", ".join(fault["fault"] for fault in d["spec"]["faults"]),
        }
        for d in drills
    ]
    forms.show(output, drills, rows, COLUMNS)


@drill.command()
@DRILL
@SET
@click.option("--full", is_flag=True, help="With everything that is left to defaults.")
def show(drill_name: str, settings: tuple[str, ...], full: bool) -> None:
    """The drill's document, to read or to start one of your own from."""
    text, source = document.text_of(drill_name)
    found = document.parse(text, source, settings)
    click.echo(document.as_yaml(found) if full or settings else text, nl=False)


@drill.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def new(file: Path | None) -> None:
    """Write a commented skeleton to FILE, or print it."""
    if file is None:
        click.echo(SKELETON, nl=False)
        return
    if file.exists():
        raise click.UsageError(f'"{file}" exists: give another name')
    file.write_text(SKELETON, encoding="utf-8")
    click.echo(f"{file} written; try `muster drill validate {file}`")


@drill.command()
@DRILL
@SET
def validate(drill_name: str, settings: tuple[str, ...]) -> None:
    """Check a drill without running it. Exit code 2 for one that is wrong."""
    found = document.find(drill_name, settings)
    click.echo(f"{drill_name}: the drill {found.metadata.name} is well formed")


@drill.command()
@DRILL
@options.name
@SET
@click.option(
    "--node",
    default="",
    shell_complete=options.machines,
    help="The victim (default: as the drill says).",
)
@click.option("--service", default="", help="[NAMESPACE/]NAME to send requests to.")
@click.option("--seed", type=int, help="Choose by chance as an earlier run did.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "markdown", "junit"]),
    default="table",
    show_default=True,
    help="The form of the report on stdout.",
)
@click.option("--report", "folder", type=click.Path(path_type=Path), help="Where reports go.")
@click.pass_context
def run(
    ctx: click.Context, drill_name: str, name: str, settings: tuple[str, ...], node: str,
    service: str, seed: int | None, output: str, folder: Path | None,
) -> None:  # fmt: skip
    """Run a drill. Exit code: 0 pass, 1 fail, 2 nothing ran, 3 passed with warnings."""
    found, lab = document.find(drill_name, settings), running_lab(name)
    choice = Choice(node=node, service=service, seed=seed)
    result = running.run(found, lab, choice, output=output, folder=folder)
    ctx.exit(result.verdict.exit_code)


@drill.command()
@DRILL
@options.name
@SET
@click.option("--times", type=click.IntRange(1), help="At most so many runs (default: no end).")
@click.option("--interval", type=float, default=0, help="Seconds from one run to the next.")
@click.option("--until-fail", is_flag=True, help="Stop at the first run that does not pass.")
@click.pass_context
def loop(
    ctx: click.Context, drill_name: str, name: str, settings: tuple[str, ...], times: int | None,
    interval: float, until_fail: bool,
) -> None:  # fmt: skip
    """Run a drill again and again. Exit code: that of the worst run; Ctrl-C ends it in order."""
    found, lab = document.find(drill_name, settings), running_lab(name)
    runs = itertools.repeat(found) if times is None else itertools.repeat(found, times)
    ctx.exit(running.several(runs, lab, interval=interval, until_fail=until_fail))


@drill.command()
@click.argument("drill_names", metavar="[DRILL]...", nargs=-1, shell_complete=_drills)
@options.name
@click.pass_context
def suite(ctx: click.Context, drill_names: tuple[str, ...], name: str) -> None:
    """Run several drills, one after the other, and give the lab a score.

    Without names: all of the catalog that this lab has the machines for.
    """
    lab = running_lab(name)
    known = [document.find(text) for text in drill_names] or list(document.catalog())
    fitting = [d for d in known if d.spec.min_masters <= len(lab.masters())]
    ctx.exit(running.several(fitting, lab, settle=True))


@drill.command("heal")
@options.name
@click.option("--by", default="heal", hidden=True)
@click.option("--run", default="", hidden=True)
def heal_(name: str, by: str, run: str) -> None:
    """Undo what is left of earlier drills. No error when there is nothing."""
    healed = until_signalled(heal(running_lab(name), by, run))
    for line in healed:
        click.echo(line)
    if not healed:
        click.echo("nothing to undo")


@drill.command("history")
@options.name
@forms.option
def history_(name: str, output: str) -> None:
    """The runs of a lab, the latest last, and what is left to undo of them."""
    rows = [msgspec.to_builtins(run) for run in history.runs(running_lab(name).spec.state_dir)]
    forms.show(output, rows, rows, RUNS)


@drill.command("compare")
@click.argument("first", shell_complete=_runs)
@click.argument("second", shell_complete=_runs)
@options.name
def compare_(first: str, second: str, name: str) -> None:
    """Two runs side by side, or two groups of runs with their medians and spread.

    FIRST and SECOND are runs (`muster drill history`), the name of a drill for all of its runs,
    or paths of report.json or of folders that hold such files.
    """
    sides = [_reports(text, name) for text in (first, second)]
    table = Table("", "FIRST", "SECOND", "DIFFERENCE", box=None, pad_edge=False)
    for row in compare(*sides):
        table.add_row(*map(escape, row))
    running.wide_console().print(table)


def _reports(text: str, name: str) -> Sequence[Report]:
    path = Path(text)
    if path.exists():
        return history.read(path)
    return history.of_lab(running_lab(name).spec.state_dir, text)
