"""muster-network: flags and wiring."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from kube.api.core import Node
from kube.client.access import delegated
from kube.client.client import Client
from kube.client.events import EventRecorder
from kube.client.informer import Informer
from kube.component.log import get_logger
from kube.component.metrics import metrics_server
from kube.component.run import notify_ready, run
from kube.component.tls import TlsFiles, server_context
from worker.network.agent import Agent

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Config:
    api_servers: tuple[str, ...]
    kubeconfig: Path | None
    node_name: str
    cluster_cidr: str
    cni_conf_dir: Path
    cni_bin_dir: Path
    bind_address: str
    metrics_port: int
    tls: TlsFiles | None

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = _parser()
        a = parser.parse_args(argv)
        try:
            cluster_cidr = str(ipaddress.ip_network(a.cluster_cidr))
        except ValueError as error:
            parser.error(f"--cluster-cidr: {error}")
        tls = None
        if a.tls_cert_file and a.tls_private_key_file and a.client_ca_file:
            tls = TlsFiles(a.tls_cert_file, a.tls_private_key_file, a.client_ca_file)
        return cls(
            api_servers=tuple(a.api_servers.split(",")),
            kubeconfig=a.kubeconfig,
            node_name=a.node_name,
            cluster_cidr=cluster_cidr,
            cni_conf_dir=a.cni_conf_dir,
            cni_bin_dir=a.cni_bin_dir,
            bind_address=a.bind_address,
            metrics_port=a.metrics_port,
            tls=tls,
        )


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="muster-network", description=__doc__)
    p.add_argument("--api-servers", required=True, help="host:port[,host:port...] of the gRPC API")
    p.add_argument("--kubeconfig", type=Path, help="the agent's identity")
    p.add_argument("--node-name", required=True)
    p.add_argument(
        "--cluster-cidr",
        "--pod-cidr",
        default="10.244.0.0/16",
        help="the range of all pods of the cluster",
    )
    p.add_argument("--cni-conf-dir", type=Path, default=Path("/etc/cni/net.d"))
    p.add_argument("--cni-bin-dir", type=Path, default=Path("/usr/lib/cni"))
    p.add_argument("--bind-address", default="127.0.0.1", help="of the metrics port")
    p.add_argument("--metrics-port", type=int, default=10012, help="negative: no metrics port")
    p.add_argument("--tls-cert-file", type=Path)
    p.add_argument("--tls-private-key-file", type=Path)
    p.add_argument("--client-ca-file", type=Path)
    return p


async def serve(config: Config, stop: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            Client.connect(config.api_servers, config.kubeconfig)
        )
        nodes = Informer(client, Node)
        events = EventRecorder(client, "muster-network", config.node_name)
        agent = Agent(
            nodes, config.node_name, config.cluster_cidr, config.cni_conf_dir,
            config.cni_bin_dir, events,
        )  # fmt: skip
        if config.metrics_port >= 0:
            tls = server_context(config.tls) if config.tls else None
            checks = {"sync": agent.problem}
            await stack.enter_async_context(
                metrics_server(
                    config.bind_address,
                    config.metrics_port,
                    tls,
                    checks,
                    delegated(client.servers),
                )
            )
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(events.run(), name="events"),
                tasks.create_task(nodes.run(), name="node informer"),
                tasks.create_task(agent.run(), name="network agent"),
            ]
            notify_ready("watching nodes")
            await stop.wait()
            for task in running:
                task.cancel()


def main(argv: Sequence[str] | None = None) -> int:
    return run(serve, Config.from_argv(argv), "muster-network")
