"""`muster drill list | run | heal`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from muster.cli import output as forms
from muster.cli.console import stderr
from muster.cli.session import run as until_signalled
from muster.component.timers import PROFILES
from muster.component.tls import TlsFiles
from provision.drills import engine, html, report, spec
from provision.drills.lab import DrillLab, heal
from provision.drills.result import Result
from provision.errors import MachinesFailed
from provision.providers import provider
from provision.state import Store, lab_spec

COLUMNS: tuple[forms.Column, ...] = (
    ("NAME", lambda drill: drill["name"]),
    ("DESCRIPTION", lambda drill: drill["description"]),
)
NAME = click.option("--name", default="default", show_default=True, help="The lab.")


@click.group()
def drill() -> None:
    """Break a running lab on purpose, and see how it recovers."""


def running_lab(name: str) -> DrillLab:
    """The lab `name`, as drills see it. Raises LabNotFound."""
    store = Store()
    record = store.get(name)
    directory = store.directory(name)
    masters = [m for m in record.machines if m.role == "master"]
    return DrillLab(
        spec=lab_spec(record, directory),
        provider=provider(record.lab.spec.provider),
        api_servers=tuple(f"{m.address}:6444" for m in masters),
        admin_kubeconfig=directory.kubeconfig,
        monitoring=TlsFiles(
            directory.pki / "monitoring.crt", directory.pki / "monitoring.key",
            directory.pki / "ca.crt",
        ),
        profile=record.lab.spec.timers,
    )  # fmt: skip


@drill.command("list")
@forms.option
def list_(output: str) -> None:
    """The drills that come with Muster."""
    drills = [msgspec.to_builtins(drill) for drill in spec.catalog()]
    forms.show(output, drills, [d["metadata"] for d in drills], COLUMNS)


@drill.command()
@click.argument("drill_name", metavar="DRILL")
@NAME
@click.option("--node", default="", help="The victim (default: the worker with most pods).")
@click.option("--service", default="", help="[NAMESPACE/]NAME to send requests to.")
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table")
@click.option("--report", "folder", type=click.Path(path_type=Path), help="Where reports go.")
@click.pass_context
def run(
    ctx: click.Context, drill_name: str, name: str, node: str, service: str, output: str,
    folder: Path | None,
) -> None:  # fmt: skip
    """Run a drill. Exit code: 0 pass, 1 fail, 2 nothing ran, 3 passed with warnings."""
    found, lab = spec.find(drill_name), running_lab(name)
    progress = stderr()
    _announce(progress, lab)
    try:
        result = until_signalled(
            engine.run(found, lab, node=node, service=service, say=progress.print)
        )
    except MachinesFailed as error:
        raise MachinesFailed(error.message, error.hint or "`muster drill heal` undoes") from error
    folder = folder or lab.spec.state_dir / "drills" / result.run_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(report.as_json(result))
    (folder / "report.html").write_text(html.render(result))
    if output == "json":
        click.echo(report.as_json(result).decode())
    else:
        _show(_console(), result)
    progress.print(f"report: {folder / 'report.html'} (and report.json)")
    ctx.exit(result.verdict.exit_code)


def _console() -> Console:
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


def _show(console: Console, result: Result) -> None:
    phases = Table("AFTER THE FAULT", "PHASE", "", box=None, pad_edge=False)
    phases.columns[0].justify = "right"
    for row in report.phase_rows(result):
        phases.add_row(*row)
    levels = Table("", "LEVEL", "MEASURED", "LIMIT", box=None, pad_edge=False)
    for finding in report.finding_rows(result):
        levels.add_row(*finding)
    metrics = result.timeline.metrics
    console.print(phases)
    console.print(
        f"\n{metrics['requests']:g} requests, {metrics['failed_requests']:g} failed, "
        f"longest gap between good answers {metrics['longest_outage_seconds']} s\n"
        f"{_figure(metrics['failed_requests_while_rules_synced'])} failed between the withdrawal "
        f"in the API and in every node's rules, "
        f"{_figure(metrics['failed_requests_after_withdrawal'])} after that\n"
    )
    console.print(levels)
    console.print(f"\nverdict: [bold]{result.verdict.value}[/bold]")


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


@drill.command("heal")
@NAME
def heal_(name: str) -> None:
    """Undo what is left of earlier drills. No error when there is nothing."""
    healed = until_signalled(heal(running_lab(name)))
    if healed:
        click.echo(f"switched on again: {', '.join(healed)}")
    else:
        click.echo("nothing to undo")
