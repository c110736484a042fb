"""`muster logs`: what the components of a lab say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import click

from muster import options
from muster.journal import Lines, readable
from muster.remote import reach
from muster.session import exit_with

if TYPE_CHECKING:
    from provision.identities import LabRecord
    from provision.providers.base import SshTarget

COMPONENTS = {
    "kvstore": "master",
    "apiserver": "master",
    "scheduler": "master",
    "controller-manager": "master",
    "state-metrics": "master",
    "apiserver-check": "master",
    "keepalived": "master",
    "runtime": "every",
    "containerd": "every",
    "kubelet": "every",
    "proxy": "every",
    "network": "every",
}


def _passing(stream: BinaryIO) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        stream.write(data)
        stream.flush()

    return write


@click.command()
@click.argument("component", type=click.Choice(list(COMPONENTS)))
@options.name
@click.option("--node", metavar="NODE", help="Which machine (default: every one that runs it).")
@click.option("--tail", type=click.IntRange(min=0), default=50, show_default=True, metavar="N")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come (one machine only).")
@click.option("--raw", is_flag=True, help="Lines as the journal has them: JSON from components.")
def logs(component: str, name: str, node: str | None, tail: int, follow: bool, raw: bool) -> None:
    """Show a component's journal."""
    from muster.console import complain
    from provision.errors import MachineUnreachable
    from provision.phases.session import open_session
    from provision.state import Store

    session = open_session(Store(), name)
    record = session.record
    names = _names(record, component, node)
    if follow and len(names) > 1:
        names = names[:1]
    code = 0
    for each in names:
        target = reach(session, each)
        if len(names) > 1:
            click.echo(f"==> {each} <==")
        try:
            _journal(target, each, component, tail, follow, _shown(raw))
        except MachineUnreachable as error:  # the others still have something to say
            code = complain(error)
    exit_with(code)


def _names(record: LabRecord, component: str, node: str | None) -> list[str]:
    """The machines whose journal has the component; refused where there is none."""
    from provision.errors import LabNotFound

    spec = record.lab.spec
    other = {"muster": "containerd", "containerd": "runtime"}[spec.runtime]
    if component == other:
        raise LabNotFound(
            f"no machine runs {component}: the lab's runtime is {spec.runtime}",
            f"see `muster logs {'runtime' if spec.runtime == 'muster' else 'containerd'}`",
        )
    if component == "keepalived" and not record.vip:
        raise LabNotFound("no machine runs keepalived", "only a lab with several masters needs it")
    eligible = record.masters if COMPONENTS[component] == "master" else record.machines
    names = [machine.name for machine in eligible]
    if node is None:
        return names
    if record.machine(node) is not None and node not in names:
        raise LabNotFound(f"{node} does not run {component}", f"it runs on {', '.join(names)}")
    return [node]


def _shown(raw: bool) -> Callable[[bytes], None]:
    """Where a journal's bytes go: as they are, or made readable line by line."""
    if raw:
        return _passing(sys.stdout.buffer)
    lines = Lines()

    def write(data: bytes) -> None:
        for line in lines.feed(data):
            click.echo(readable(line))

    return write


def _journal(
    target: SshTarget,
    node: str,
    component: str,
    tail: int,
    follow: bool,
    out: Callable[[bytes], None],
) -> None:
    from provision.ssh import connect

    command = ["journalctl", "--no-pager", "-o", "short-iso-precise", "-n", str(tail)]
    command += ["-u", f"muster-{component}", *(["-f"] if follow else [])]
    with connect(target, node) as connection:
        connection.stream(command, out, _passing(sys.stderr.buffer))
