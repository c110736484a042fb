"""`muster status` and `muster node list | stop | start`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from muster import options, output
from muster.console import stdout
from muster.session import exit_with, reporting, run

if TYPE_CHECKING:
    from provision.phases.session import Session

COLUMNS: tuple[output.Column, ...] = (
    ("NAME", lambda m: m["name"]),
    ("ROLE", lambda m: m["role"]),
    ("ADDRESS", lambda m: m["address"]),
    ("MACHINE", lambda m: m["state"]),
    ("NODE", lambda m: m["node"]),
)
WIDE: tuple[output.Column, ...] = (
    ("CPUS", lambda m: f"{m['cpus']:g}"),
    ("MEMORY", lambda m: f"{m['memory_mib']}Mi"),
    ("PODS", lambda m: m["pod_cidr"] or "-"),
    ("VERSION", lambda m: m["version"] or "-"),
    ("WHY", lambda m: m["why"] or "-"),
)


async def _machines(session: Session) -> tuple[list[dict[str, Any]], str]:
    """A row per machine, and what the API said (empty when it answered)."""
    from provision.cluster import ApiUnavailable, Cluster
    from provision.phases.ready import api_address

    states = await session.states()
    trouble = "no master runs"
    nodes = {}
    if any(states[m.name] == "running" for m in session.record.masters):
        try:
            cluster = Cluster(await api_address(session), session.directory.pki)
            nodes, trouble = await asyncio.to_thread(cluster.nodes), ""
        except (ApiUnavailable, OSError) as error:
            trouble = str(error)
    rows = []
    for machine in session.record.machines:
        node = nodes.get(machine.name)
        state = "Unknown" if trouble else "absent"
        if node is not None:
            state = "Ready" if node.ready else "NotReady"
        rows.append(
            {
                "name": machine.name,
                "role": machine.role,
                "address": machine.address,
                "state": str(states[machine.name]),
                "node": state,
                "why": node.why if node and not node.ready else "",
                "cpus": machine.cpus,
                "memory_mib": machine.memory_mib,
                "disk_mib": machine.disk_mib,
                "version": node.version if node else "",
                "pod_cidr": node.pod_cidr if node else "",
            }
        )
    return rows, trouble


def _watcher(session: Session) -> str:
    """The address of the lab's Prometheus, or why there is none."""
    from provision.monitoring import server
    from provision.phases.monitoring import lacks

    if not session.record.lab.spec.monitoring:
        return "off (spec.monitoring)"
    running = server.find(session.directory)
    return running.url if running else lacks(session) or "does not run: `muster up` starts it"


@click.command()
@options.name
@output.option
def status(name: str, output: str) -> None:
    """Show a lab: its machines, its nodes, and where its files are.

    The exit code is 1 when the API does not answer, as it cannot while no master runs.
    """
    from muster.output import show
    from provision.kubeconfig import context_name
    from provision.phases.session import open_session
    from provision.state import Store

    session = open_session(Store(), name)
    rows, trouble = run(_machines(session))
    record, directory = session.record, session.directory
    watcher = _watcher(session)
    document = {
        "name": name,
        "provider": record.lab.spec.provider,
        "runtime": record.lab.spec.runtime,
        "timers": record.lab.spec.timers,
        "subnet": record.network.subnet,
        "endpoint": f"https://{record.endpoint}:6443",
        "context": context_name(name),
        "api": trouble or "ok",
        "kubeconfig": str(directory.kubeconfig),
        "pki": str(directory.pki),
        "prometheus": str(directory.prometheus),
        "monitoring": watcher,
        "timings": str(directory.timings),
        "machines": rows,
    }
    if output in ("table", "wide"):
        stdout().print(
            f"lab {name}  api {document['endpoint']} ({document['api']})  "
            f"context {document['context']}  timers {document['timers']}"
        )
        stdout().print(f"prometheus {watcher}")
    if output == "wide":
        stdout().print(f"files: {directory.path}  scrape configuration: {directory.prometheus}")
    show(output, document, rows, COLUMNS, WIDE)
    if trouble:  # for a script that asks before it goes on
        exit_with(1)


@click.group()
def node() -> None:
    """The machines of a lab, one by one."""


@node.command("list")
@options.name
@output.option
def list_(name: str, output: str) -> None:
    """Machines and their nodes."""
    from muster.output import show
    from provision.phases.session import open_session
    from provision.state import Store

    rows, _ = run(_machines(open_session(Store(), name)))
    show(output, rows, rows, COLUMNS, WIDE)


@node.command("stop")
@options.nodes
@options.name
@click.option("--force", is_flag=True, help="Pull the plug instead of shutting down.")
def stop(nodes: tuple[str, ...], name: str, force: bool) -> None:
    """Shut machines down."""
    from provision.phases import power
    from provision.phases.session import open_session
    from provision.state import Store

    with reporting() as reporter:
        run(power.stop(open_session(Store(), name), nodes, reporter, force=force))


@node.command("start")
@options.nodes
@options.name
@options.waiting
def start(nodes: tuple[str, ...], name: str, wait: bool, timeout: float) -> None:
    """Boot machines again."""
    from provision.phases import power
    from provision.phases.session import open_session
    from provision.state import Store

    with reporting() as reporter:
        session = open_session(Store(), name)
        run(power.start(session, nodes, reporter, wait=wait, timeout=timeout))
