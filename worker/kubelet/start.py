"""Starts the kubelet: the heartbeat first, everything else while it is under way.

Loading the kubelet takes a third of a second of processor time, on a busy machine seconds, and
all that while a node that is alive would look dead.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from kube.client.client import Client
from kube.component.run import run
from worker.kubelet.node.heartbeat import EARLY_STARTS, Heartbeat, Starts

Serve = Callable[[asyncio.Event, Client, Heartbeat], Awaitable[None]]


def _early_flags(argv: Sequence[str]) -> argparse.Namespace:
    """What the heartbeat needs of the flags. They are explained and judged in `main`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add("--api-servers", default="")
    add("--kubeconfig", type=Path)
    add("--hostname-override", default="")
    add("--root-dir", type=Path, default=Path("/var/lib/kubelet"))
    add("--node-lease-duration-seconds", type=float, default=40.0)
    add("--node-lease-renew-interval", type=float, default=10.0)
    return parser.parse_known_args(argv)[0]


def _load(argv: Sequence[str]) -> Serve:
    from worker.kubelet.main import Config, serve

    config = Config.from_argv(argv)
    return lambda stop, client, heartbeat: serve(config, stop, client, heartbeat)


async def _serve(argv: Sequence[str], stop: asyncio.Event) -> None:
    flags = _early_flags(argv)
    servers = tuple(part.strip() for part in flags.api_servers.split(",") if part.strip())
    starts = Starts(flags.root_dir)
    early = starts.begin() <= EARLY_STARTS
    async with Client.connect(servers, flags.kubeconfig) as client, asyncio.TaskGroup() as tasks:
        heartbeat = Heartbeat(
            client,
            flags.hostname_override.lower(),
            flags.node_lease_duration_seconds,
            flags.node_lease_renew_interval,
            starts,
        )
        beating = tasks.create_task(heartbeat.run(early), name="node-lease")
        serve = await asyncio.to_thread(_load, argv)
        await serve(stop, client, heartbeat)
        beating.cancel()


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    flags = _early_flags(argv)
    if not (flags.api_servers and flags.hostname_override) or {"-h", "--help"} & set(argv):
        _load(argv)  # says what is missing, or what there is
    return run(_serve, argv, "kubelet")
