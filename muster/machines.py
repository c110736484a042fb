"""`muster ssh` and `muster logs`: what goes on inside machines."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import click

from muster import options
from muster.journal import Lines, readable
from muster.session import exit_with, run

if TYPE_CHECKING:
    from provision.phases.session import Session
    from provision.providers.base import SshTarget

COMPONENTS = {
    "kvstore": "master",
    "apiserver": "master",
    "scheduler": "master",
    "controller-manager": "master",
    "keepalived": "master",
    "runtime": "every",
    "containerd": "every",
    "kubelet": "every",
    "proxy": "every",
    "network": "every",
}


def _reach(name: str, node: str) -> tuple[Session, SshTarget]:
    from provision.phases.power import chosen
    from provision.phases.session import open_session
    from provision.state import Store

    session = open_session(Store(), name)
    chosen(session, [node])
    return session, run(session.target(node))


@click.command(context_settings={"ignore_unknown_options": False})
@options.node
@options.name
@click.argument("command", metavar="[-- COMMAND]", nargs=-1, type=click.UNPROCESSED)
def ssh(node: str, name: str, command: tuple[str, ...]) -> None:
    """Log in to a machine, or run COMMAND there. Its exit status becomes ours.

    As with ssh, COMMAND's words are joined by spaces for the machine's shell: quote what
    belongs together, as in `muster ssh w1 -- 'cd /etc && ls'`.
    """
    from provision.errors import HostNotReady

    session, target = _reach(name, node)
    if command:
        _run_there(target, node, " ".join(command))
        return
    client = shutil.which("ssh")
    if client is None:
        raise HostNotReady("ssh is not on PATH", "apt-get install openssh-client")
    from provision.ssh.keys import write_known_hosts

    known_hosts = session.directory.known_hosts
    if not known_hosts.exists():
        write_known_hosts(known_hosts, [target])
    arguments = [
        "ssh", "-i", str(target.key_file), "-p", str(target.port),
        "-o", f"UserKnownHostsFile={known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null",
        "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
        f"{target.user}@{target.host}",
    ]  # fmt: skip
    os.execv(client, arguments)  # noqa: S606 - the terminal belongs to ssh from here


def _run_there(target: SshTarget, node: str, line: str) -> None:
    """Like ssh(1): the words, joined by spaces, are for the machine's shell."""
    from provision.ssh import connect

    with connect(target, node) as connection:
        status = connection.stream(
            ["sh", "-c", line], _passing(sys.stdout.buffer), _passing(sys.stderr.buffer)
        )
    exit_with(status if 0 <= status < 256 else 255)


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
    eligible = record.masters if COMPONENTS[component] == "master" else record.machines
    names = [node] if node else [m.name for m in eligible]
    if follow and len(names) > 1:
        names = names[:1]
    code = 0
    for each in names:
        _, target = _reach(name, each)
        if len(names) > 1:
            click.echo(f"==> {each} <==")
        try:
            _journal(target, each, component, tail, follow, _shown(raw))
        except MachineUnreachable as error:  # the others still have something to say
            code = complain(error)
    exit_with(code)


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
