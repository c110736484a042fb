"""`muster up | down | start | stop | kubeconfig`: the whole lab."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from muster import options
from muster.console import stdout
from muster.session import exit_with, reporting, run, translated
from provision.providers import PROVIDERS

if TYPE_CHECKING:
    from provision.labfile import ProviderName
    from provision.phases.plan import Planned
    from provision.phases.up import UpResult
    from provision.state import Store


@click.command()
@options.lab_file
@click.option("--name", metavar="LAB", help="The lab's name (default: the file's, or default).")
@click.option("--masters", type=click.IntRange(min=1), help="How many masters.")
@click.option("--workers", type=click.IntRange(min=0), help="How many workers.")
@click.option("--provider", type=click.Choice(PROVIDERS), help="Who makes the machines.")
@click.option(
    "--timers",
    type=click.Choice(["fast", "kubernetes"]),
    help="Timer profile: fast notices a dead node in seconds, kubernetes has upstream's values.",
)
@options.waiting
@click.option("--retain", is_flag=True, help="Keep what was made when something fails.")
@click.option("--dry-run", is_flag=True, help="Show what would be made, and change nothing.")
def up(
    file: Path | None,
    name: str | None,
    masters: int | None,
    workers: int | None,
    provider: ProviderName | None,
    timers: str | None,
    wait: bool,
    timeout: float,
    retain: bool,
    dry_run: bool,
) -> None:
    """Make a lab, or complete one. What is right already is left alone."""
    from provision.labfile import load_lab
    from provision.phases.plan import Overrides, plan
    from provision.phases.up import UpOptions
    from provision.phases.up import up as bring_up
    from provision.state import Store

    store = Store()
    overrides = Overrides(name, masters, workers, provider, timers)
    planned = plan(store, load_lab(file) if file else None, overrides)
    if dry_run:
        _show_plan(store, planned)
        return
    _announce(planned)
    with reporting() as reporter:
        asked = UpOptions(retain=retain, wait=wait, timeout=timeout)
        result = run(bring_up(store, planned, asked, reporter))
    _finished(result)


def _announce(planned: Planned) -> None:
    from kube.component.timers import PROFILES

    spec, record = planned.record.lab.spec, planned.record
    timers = PROFILES[spec.timers]
    stdout().print(
        f'lab "{record.name}": {len(record.masters)} master(s), {len(record.workers)} worker(s) '
        f"on {record.network.subnet} by {spec.provider}\n"
        f"timer profile {spec.timers}: a dead node's pods are evicted within "
        f"{timers.predicted_eviction():g} s"
    )


def _show_plan(store: Store, planned: Planned) -> None:
    from provision.phases.up import unprepared
    from provision.providers import declared, provider
    from provision.providers.local.hostfacts import memory_mib
    from provision.state import unmade_spec

    record = planned.record
    _announce(planned)
    have = {m.name for m in planned.existing.machines} if planned.existing else set()
    for machine in record.machines:
        todo = "exists" if machine.name in have else "would be made"
        stdout().print(
            f"  {machine.name:<5} {machine.role:<7} {machine.address:<15} "
            f"{machine.cpus:g} CPU, {machine.memory_mib} MiB  {todo}"
        )
    if declared(record.lab.spec.provider).on_this_host:
        cpus = sum(machine.cpus for machine in record.machines)
        memory = sum(machine.memory_mib for machine in record.machines)
        stdout().print(
            f"  in all {cpus:g} CPU, {memory} MiB; this host has {os.cpu_count()} CPU, "
            f"{memory_mib()} MiB"
        )
    if not have.issuperset(machine.name for machine in record.machines):
        spec = unmade_spec(record, store.directory(record.name))
        if problems := run(provider(record.lab.spec.provider).check(spec)):
            raise unprepared(problems)
    stdout().print("dry run: nothing was changed")


def _finished(result: UpResult) -> None:
    console, name = stdout(), result.record.name
    if not result.changes:
        console.print(f'lab "{name}" was up already: nothing changed ({result.seconds:.1f} s)')
        return
    console.print(f'lab "{name}" is up after {result.seconds:.1f} s. Try:')
    context = f"--context muster-{name}"
    where = "" if name == "default" else f" --name {name}"
    for command in (
        f"kubectl {context} get nodes -o wide",
        f"kubectl {context} apply -f examples/hello.yaml",
        f"muster status{where}",
        f"muster ssh{where} {result.record.machines[-1].name}",
        f"muster drill run node-power-off{where}",
    ):
        console.print(f"  {command}")
    if shutil.which("kubectl") is None:
        console.print(
            "kubectl is not on PATH: get any version from 1.28 on as "
            "https://kubernetes.io/docs/tasks/tools/ describes"
        )


@click.command()
@options.name
def down(name: str) -> None:
    """Remove a lab wholly. Removing a lab that does not exist succeeds."""
    from provision.phases.down import down as take_down
    from provision.state import Store

    with reporting() as reporter:
        removed = run(take_down(Store(), name, reporter))
    stdout().print(f'lab "{name}" is removed' if removed else f'there is no lab "{name}"')


@click.command()
@click.argument("names", metavar="[LAB]...", nargs=-1)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def prune(names: tuple[str, ...], yes: bool) -> None:
    """Remove machines that no lab owns: their state directory is gone, or damaged.

    Of all labs, or of those that are named.
    """
    from provision.phases.prune import prune as remove
    from provision.phases.prune import strays
    from provision.state import Store

    store = Store()
    found = [stray for stray in strays(store) if not names or stray.lab in names]
    if not found:
        stdout().print("there is nothing to remove")
        return
    for stray in found:
        stdout().print(f'{stray.provider} lab "{stray.lab}": {stray.why}', markup=False)
    if not yes and not click.confirm("Remove all of this?"):
        stdout().print("nothing was removed")
        exit_with(1)
    with reporting() as reporter:
        run(remove(store, found, reporter))


@click.command()
@options.name
def stop(name: str) -> None:
    """Shut all machines down; disks, addresses and identities stay."""
    from provision.phases import power
    from provision.phases.session import open_session
    from provision.state import Store

    with reporting() as reporter, translated():
        run(power.stop(open_session(Store(), name), (), reporter))


@click.command()
@options.name
@options.waiting
def start(name: str, wait: bool, timeout: float) -> None:
    """Boot all machines again, as they were."""
    from provision.phases import power
    from provision.phases.session import open_session
    from provision.state import Store

    with reporting() as reporter, translated():
        session = open_session(Store(), name)
        run(power.start(session, (), reporter, wait=wait, timeout=timeout))


@click.command()
@options.name
@click.option("--raw", is_flag=True, help="Print the lab's kubeconfig instead of merging it.")
def kubeconfig(name: str, raw: bool) -> None:
    """Merge the lab's context into your kubeconfig again, or print it."""
    from provision.kubeconfig import context_name
    from provision.phases.access import admin_document, install_access
    from provision.phases.session import open_session
    from provision.state import Store

    session = open_session(Store(), name)
    if raw:
        click.echo(yaml.safe_dump(run(admin_document(session)), sort_keys=False), nl=False)
        return
    changed = run(install_access(session))
    for path in changed:
        stdout().print(f"context {context_name(name)} written to {path}")
    if not changed:
        stdout().print(f"context {context_name(name)} is there already")
