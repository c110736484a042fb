"""The controller-manager: flags, leader election, and all controllers in one process."""

from __future__ import annotations

import argparse
import asyncio
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kube.client.access import delegated
from kube.client.client import Client
from kube.client.events import EventRecorder
from kube.client.flags import ClientFlags, add_client_flags, leader_elector, stop_or_failure
from kube.client.kinds import Kinds
from kube.component.metrics import metrics_server
from kube.component.run import notify_ready, run
from master.controllers.all import CONTROLLERS
from master.controllers.machinery.controller import Context, Informers, Maker

NAME = "kube-controller-manager"


@dataclass(frozen=True, slots=True)
class Config:
    client: ClientFlags
    makers: tuple[Maker, ...]  # of the controllers that run

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = argparse.ArgumentParser(prog=NAME, description=__doc__, allow_abbrev=False)
        add_client_flags(parser, secure_port=10257)
        for controller in CONTROLLERS:
            controller.add_flags(parser)
        args = parser.parse_args(argv)
        try:
            makers = [controller.from_flags(args) for controller in CONTROLLERS]
        except ValueError as error:
            parser.error(str(error))
        return cls(ClientFlags.from_args(args), tuple(make for make in makers if make is not None))


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve health at once, lead when it is our turn, end with an error when the lease is lost."""
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    flags = config.client
    async with (
        Client.connect(flags.servers, flags.kubeconfig) as client,
        metrics_server(
            flags.address,
            flags.secure_port,
            flags.tls(),
            {"ping": _alive},
            delegated(client.servers),
        ),
    ):
        notify_ready()

        async def lead_all() -> None:
            await _run_all(client, config)

        elector = leader_elector(client, flags, NAME, identity)
        working = asyncio.create_task(
            elector.run(lead_all) if elector is not None else lead_all(), name="controllers"
        )
        await stop_or_failure(stop, working)


def _alive() -> str | None:
    return None


async def _run_all(client: Client, config: Config) -> None:
    recorder = EventRecorder(client, "controller-manager", socket.gethostname())
    informers = Informers(client)
    kinds = Kinds(client)
    context = Context(client, informers, kinds, recorder)
    # Each adds its informers and handlers when it is made, so all are made before any runs.
    running = [make(context) for make in config.makers]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run(), name="events")
        tasks.create_task(kinds.run(), name="kinds")
        tasks.create_task(informers.run(), name="informers")
        for controller in running:
            tasks.create_task(controller.run(), name=controller.name)


def main(argv: Sequence[str] | None = None) -> int:
    return run(serve, Config.from_argv(argv), NAME)
