"""`muster ssh | cp | exec | ssh-config`: into the machines, by OpenSSH's own programs.

They know best what a terminal, a signal and a closed pipe mean; we tell them only who is where.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from muster import options
from muster.session import exit_with, run

if TYPE_CHECKING:
    from pathlib import Path

    from provision.phases.session import Session
    from provision.providers.base import SshTarget


def reach(session: Session, node: str) -> SshTarget:
    """How to reach a machine of the lab, which must have one of that name."""
    from provision.phases.power import chosen

    chosen(session, [node])
    return run(session.target(node))


def _session(name: str) -> Session:
    from provision.phases.session import open_session
    from provision.state import Store

    return open_session(Store(), name)


def _configured(session: Session) -> tuple[str, dict[str, SshTarget]]:
    """The lab's ssh_config, with the host keys written down that it names."""
    from provision.ssh.keys import write_known_hosts
    from provision.ssh.openssh import config

    targets = run(session.targets())
    known_hosts = session.directory.known_hosts
    write_known_hosts(known_hosts, targets.values())
    return config(session.record.name, targets, known_hosts), targets


def _prepared(session: Session) -> tuple[Path, dict[str, SshTarget]]:
    from provision.state import write_private

    text, targets = _configured(session)
    write_private(session.directory.ssh_config, text.encode())
    return session.directory.ssh_config, targets


def _program(name: str) -> str:
    from provision.errors import HostNotReady

    found = shutil.which(name)
    if found is None:
        raise HostNotReady(f"{name} is not on PATH", "apt-get install openssh-client")
    return found


def _become(command: list[str]) -> None:
    """From here on the terminal, the pipes and the exit status are OpenSSH's."""
    os.execv(_program(command[0]), command)  # noqa: S606 - no shell in between


@click.command()
@click.option("-t", "tty", count=True, help="Give COMMAND a terminal (-tt: also without one here).")
@click.option("-n", "no_input", is_flag=True, help="Read nothing from standard input.")
@options.node
@options.name
@click.argument("command", metavar="[-- COMMAND]", nargs=-1, type=click.UNPROCESSED)
def ssh(tty: int, no_input: bool, node: str, name: str, command: tuple[str, ...]) -> None:
    """Log in to a machine, or run COMMAND there. Its exit status becomes ours.

    As with ssh, COMMAND's words are joined by spaces for the machine's shell: quote what
    belongs together, as in `muster ssh w1 -- 'cd /etc && ls'`. Standard input goes to COMMAND.
    The status is 255 when the machine cannot be reached.
    """
    from provision.phases.power import chosen
    from provision.ssh.openssh import alias, login

    session = _session(name)
    chosen(session, [node])
    configuration, targets = _prepared(session)
    flags = [*["-t"] * tty, *["-n"] * no_input]
    _become(login(configuration, alias(name, node), targets[node], command, flags))


@click.command()
@options.name
@click.argument("words", metavar="SOURCE... TARGET", nargs=-1, required=True)
def cp(name: str, words: tuple[str, ...]) -> None:
    """Copy files and directories to, from and between machines, written as NODE:PATH.

    As scp does: `muster cp a.txt w1:/root/`, `muster cp m1:/etc/hosts .`, `muster cp m1:/a w1:/b`.
    """
    from provision.ssh.openssh import copy

    if len(words) < 2:
        raise click.UsageError("give a source and a target")
    session = _session(name)
    nodes = [machine.name for machine in session.record.machines]
    command = copy(session.directory.ssh_config, name, nodes, words)
    _prepared(session)
    _become(command)


@click.command("exec")
@click.option("--all", "everywhere", is_flag=True, help="On every machine of the lab.")
@click.option(
    "--node", "nodes", metavar="NODE", multiple=True, shell_complete=options.machines,
    help="On this one (repeatable).",
)  # fmt: skip
@options.name
@click.argument("command", metavar="-- COMMAND", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(everywhere: bool, nodes: tuple[str, ...], name: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on several machines at once; each line of output names its machine.

    COMMAND gets no input. The exit status is the highest of all; 255: one was not reached.
    """
    from provision.phases.power import chosen

    if everywhere == bool(nodes):
        raise click.UsageError("give either --all or --node")
    session = _session(name)
    picked = chosen(session, nodes) or [machine.name for machine in session.record.machines]
    configuration, targets = _prepared(session)
    wanted = {node: targets[node] for node in picked}
    exit_with(run(_everywhere(configuration, name, wanted, command)))


async def _everywhere(
    configuration: Path, lab: str, targets: dict[str, SshTarget], command: tuple[str, ...]
) -> int:
    """The highest exit status."""
    from provision.ssh.openssh import alias, login

    program = _program("ssh")
    width = max(map(len, targets))

    async def one(node: str, target: SshTarget) -> int:
        flags = ["-n", "-o", "BatchMode=yes"]
        words = login(configuration, alias(lab, node), target, command, flags)
        process = await asyncio.create_subprocess_exec(
            program, *words[1:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None and process.stderr is not None
            label = f"{node:<{width}} | ".encode()
            await asyncio.gather(
                _labelled(process.stdout, label, sys.stdout.buffer),
                _labelled(process.stderr, label, sys.stderr.buffer),
            )
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    return max(await asyncio.gather(*(one(node, target) for node, target in targets.items())))


async def _labelled(source: asyncio.StreamReader, label: bytes, sink: BinaryIO) -> None:
    """Line by line, so that machines do not talk into each other's lines; however long they are."""
    rest = b""
    while chunk := await source.read(1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            sink.write(label + line + b"\n")
        sink.flush()
    if rest:
        sink.write(label + rest + b"\n")
        sink.flush()


@click.command("ssh-config")
@options.name
def ssh_config(name: str) -> None:
    """Print the machines for OpenSSH: `muster ssh-config > lab; ssh -F lab muster-default-m1`."""
    text, _ = _configured(_session(name))
    click.echo(text, nl=False)
