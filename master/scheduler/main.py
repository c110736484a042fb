"""The scheduler: flags, leader election, and the loop."""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kube.client.access import delegated
from kube.client.client import Client
from kube.client.events import EventRecorder
from kube.client.flags import ClientFlags, add_client_flags, leader_elector, stop_or_failure
from kube.component.metrics import metrics_server
from kube.component.run import notify_ready, run
from master.scheduler.scheduler import SCHEDULER_NAME, Scheduler

NAME = "kube-scheduler"


@dataclass(frozen=True, slots=True)
class Config:
    client: ClientFlags
    seed: int | None = None

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = argparse.ArgumentParser(prog=NAME, description=__doc__, allow_abbrev=False)
        add_client_flags(parser, secure_port=10259)
        parser.add_argument("--seed", type=int, help="of the choice between equally good nodes")
        args = parser.parse_args(argv)
        return cls(ClientFlags.from_args(args), args.seed)


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve health at once, lead when it is our turn, end with an error when the lease is lost."""
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    flags = config.client
    async with (
        Client.connect(flags.servers, flags.kubeconfig) as client,
        metrics_server(
            flags.address, flags.secure_port, flags.tls(), access=delegated(client.servers)
        ),
    ):
        notify_ready()

        async def lead() -> None:
            await _schedule(client, config)

        elector = leader_elector(client, flags, NAME, identity)
        working = asyncio.create_task(
            elector.run(lead) if elector is not None else lead(), name="scheduler"
        )
        await stop_or_failure(stop, working)


async def _schedule(client: Client, config: Config) -> None:
    recorder = EventRecorder(client, SCHEDULER_NAME, "")
    rng = random.Random(config.seed)  # noqa: S311 - breaks ties, guards nothing
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run(), name="events")
        tasks.create_task(Scheduler(client, recorder, rng).run(), name="scheduler")


def main(argv: Sequence[str] | None = None) -> int:
    return run(serve, Config.from_argv(argv), NAME)
