"""The controller-manager: flags, leader election, and all controllers in one process."""

from __future__ import annotations

import argparse
import asyncio
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kube.client.access import delegated
from kube.client.client import Client
from kube.client.events import EventRecorder
from kube.client.flags import ClientFlags, add_client_flags, leader_elector, stop_or_failure, truth
from kube.component.log import get_logger
from kube.component.metrics import metrics_server
from kube.component.run import notify_ready, run
from master.controllers.certificates.rootca import RootCaPublisher
from master.controllers.lifecycle.garbagecollector import GarbageCollector
from master.controllers.lifecycle.namespace import NamespaceController
from master.controllers.lifecycle.podgc import PodGcController
from master.controllers.lifecycle.serviceaccount import ServiceAccountController
from master.controllers.machinery.controller import Context, Controller, Informers
from master.controllers.nodes.nodeipam import CidrSet, NodeIpamController
from master.controllers.nodes.nodelifecycle import NodeLifecycleController, Options
from master.controllers.nodes.tainteviction import TaintEvictionController
from master.controllers.services.endpoints import EndpointsController
from master.controllers.services.endpointslice import EndpointSliceController
from master.controllers.workloads.deployment import DeploymentController
from master.controllers.workloads.replicaset import ReplicaSetController

log = get_logger(__name__)
NAME = "kube-controller-manager"


@dataclass(frozen=True, slots=True)
class Config:
    client: ClientFlags
    nodes: Options = field(default_factory=Options)
    cluster_cidr: str = "10.244.0.0/16"
    service_cluster_ip_range: str = "10.96.0.0/16"
    node_cidr_mask_size: int = 24
    allocate_node_cidrs: bool = True
    root_ca_file: Path | None = None
    terminated_pod_gc_threshold: int = 12500

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = _parser()
        args = parser.parse_args(argv)
        try:
            CidrSet(args.cluster_cidr, args.node_cidr_mask_size)
        except ValueError as error:
            parser.error(f"--cluster-cidr {args.cluster_cidr}: {error}")
        if args.root_ca_file is not None and not args.root_ca_file.is_file():
            parser.error(f'--root-ca-file: "{args.root_ca_file}" is no file')
        nodes = Options(
            node_monitor_period=args.node_monitor_period,
            node_monitor_grace_period=args.node_monitor_grace_period,
            node_startup_grace_period=args.node_startup_grace_period,
            node_eviction_rate=args.node_eviction_rate,
            secondary_node_eviction_rate=args.secondary_node_eviction_rate,
            large_cluster_size_threshold=args.large_cluster_size_threshold,
            unhealthy_zone_threshold=args.unhealthy_zone_threshold,
        )
        return cls(
            client=ClientFlags.from_args(args),
            nodes=nodes,
            cluster_cidr=args.cluster_cidr,
            service_cluster_ip_range=args.service_cluster_ip_range,
            node_cidr_mask_size=args.node_cidr_mask_size,
            allocate_node_cidrs=args.allocate_node_cidrs,
            root_ca_file=args.root_ca_file,
            terminated_pod_gc_threshold=args.terminated_pod_gc_threshold,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__, allow_abbrev=False)
    add_client_flags(parser, secure_port=10257)
    nodes = Options()
    for name in (
        "node_monitor_period",
        "node_monitor_grace_period",
        "node_startup_grace_period",
        "node_eviction_rate",
        "secondary_node_eviction_rate",
        "unhealthy_zone_threshold",
    ):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=float, default=getattr(nodes, name), metavar="N")
    parser.add_argument(
        "--large-cluster-size-threshold", type=int, default=nodes.large_cluster_size_threshold
    )
    parser.add_argument("--cluster-cidr", default="10.244.0.0/16")
    parser.add_argument("--service-cluster-ip-range", default="10.96.0.0/16")
    parser.add_argument("--node-cidr-mask-size", type=int, default=24)
    parser.add_argument("--allocate-node-cidrs", type=truth, default=True, metavar="BOOL")
    parser.add_argument("--root-ca-file", type=Path)
    parser.add_argument("--terminated-pod-gc-threshold", type=int, default=12500)
    return parser


def controllers(context: Context, config: Config) -> list[Controller]:
    """All of them. Each adds its informers and handlers when it is made."""
    found: list[Controller] = [
        DeploymentController(context),
        ReplicaSetController(context),
        EndpointSliceController(context),
        EndpointsController(context),
        NodeLifecycleController(context, config.nodes),
        TaintEvictionController(context),
        GarbageCollector(context),
        PodGcController(context, config.terminated_pod_gc_threshold),
        NamespaceController(context),
        ServiceAccountController(context),
    ]
    if config.allocate_node_cidrs:
        cidrs = CidrSet(config.cluster_cidr, config.node_cidr_mask_size)
        found.append(NodeIpamController(context, cidrs))
    if config.root_ca_file is not None:
        found.append(RootCaPublisher(context, config.root_ca_file.read_text()))
    return found


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
    context = Context(client, informers, recorder)
    running = controllers(context, config)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run(), name="events")
        tasks.create_task(informers.run(), name="informers")
        for controller in running:
            tasks.create_task(controller.run(), name=controller.name)


def main(argv: Sequence[str] | None = None) -> int:
    return run(serve, Config.from_argv(argv), NAME)
