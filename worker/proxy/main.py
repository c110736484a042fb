"""`python -m worker.proxy`: flags and wiring."""

from __future__ import annotations

import argparse
import asyncio
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from kube.api import core
from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from kube.client.access import delegated
from kube.client.client import Client
from kube.client.informer import Informer
from kube.component.access import Access
from kube.component.log import get_logger
from kube.component.metrics import metrics_server
from kube.component.run import notify_ready, run
from kube.component.tls import TlsFiles, server_context
from kube.http.server import http_server
from worker.proxy.cleanup import remove_everything, remove_other_mode
from worker.proxy.endpoints import OwnNode, node_of
from worker.proxy.health import Health, eligible
from worker.proxy.healthports import HealthChecks, health_pages
from worker.proxy.iptables import BACKENDS, Iptables
from worker.proxy.iptables_writer import IptablesWriter
from worker.proxy.ruleset import Options
from worker.proxy.syncer import Periods, Syncer
from worker.proxy.writer import Writer

log = get_logger(__name__)
_ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The flags, parsed."""

    kubeconfig: Path | None = None
    api_servers: tuple[str, ...] = ()
    hostname: str = ""
    cluster_cidr: str = ""
    bind_address: str = "0.0.0.0"  # noqa: S104 - upstream's default; metrics ask for a certificate
    metrics_port: int = 10249
    healthz_port: int = 10256
    tls: TlsFiles | None = None
    min_sync_period: float = 0.05
    sync_period: float = 30.0
    masquerade_bit: int = 14
    mode: str = "iptables"
    backend: str = "auto"
    cleanup: bool = False

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = _parser()
        args = parser.parse_args(argv)
        files = (args.tls_cert_file, args.tls_private_key_file, args.client_ca_file)
        if not args.cleanup:
            if not args.api_servers:
                parser.error("--api-servers is required: host:6444[,host:6444...]")
            if not all(files):
                parser.error(
                    "--tls-cert-file, --tls-private-key-file and --client-ca-file are required"
                )
        return cls(
            kubeconfig=args.kubeconfig,
            api_servers=args.api_servers,
            hostname=args.hostname_override or socket.gethostname().lower(),
            cluster_cidr=args.cluster_cidr,
            bind_address=args.bind_address,
            metrics_port=args.metrics_port,
            healthz_port=args.healthz_port,
            tls=TlsFiles(*files) if all(files) else None,
            min_sync_period=args.iptables_min_sync_period,
            sync_period=args.iptables_sync_period,
            masquerade_bit=args.masquerade_bit,
            mode=args.proxy_mode,
            backend=args.iptables_backend,
            cleanup=args.cleanup,
        )


def _parser() -> argparse.ArgumentParser:
    default = Config()
    parser = argparse.ArgumentParser(
        prog="kube-proxy", description="Services as rules of the kernel."
    )
    add = parser.add_argument
    add("--kubeconfig", type=Path, help="identity and CA for the api-servers")
    add("--api-servers", type=_servers, default=(), help="host:6444[,host:6444...]")
    add("--hostname-override", default="", help="this node's name, if not the host's name")
    add("--cluster-cidr", type=_cidr, default="", help="pods' addresses; others are masqueraded")
    add("--bind-address", default=default.bind_address, help="of the metrics and health ports")
    add("--metrics-port", type=int, default=default.metrics_port, help="HTTPS, mutual TLS")
    add("--healthz-port", type=int, default=default.healthz_port, help="/healthz and /livez")
    add("--tls-cert-file", type=Path)
    add("--tls-private-key-file", type=Path)
    add("--client-ca-file", type=Path)
    add("--iptables-min-sync-period", type=_seconds, default=default.min_sync_period)
    add("--iptables-sync-period", type=_positive_seconds, default=default.sync_period)
    add(
        "--masquerade-bit",
        type=int,
        choices=range(32),
        default=default.masquerade_bit,
        metavar="0..31",
    )
    add("--proxy-mode", choices=("iptables", "nftables"), default=default.mode)
    add("--iptables-backend", choices=("auto", *BACKENDS), default="auto")
    add("--cleanup", action="store_true", help="remove all rules of kube-proxy and exit")
    return parser


def _servers(text: str) -> tuple[str, ...]:
    return tuple(server for server in text.split(",") if server)


def _cidr(text: str) -> str:
    try:
        return str(IPv4Network(text)) if text else ""
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}") from error


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no duration in seconds")
    return seconds


def _positive_seconds(text: str) -> float:
    if not (seconds := _seconds(text)):
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return seconds


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Until `stop`. The rules stay: connections must outlive a restart of the proxy."""
    if config.cleanup:
        await remove_everything()
        return
    writer = await _writer(config)
    # Twice the sync period without success is upstream's limit too.
    health = Health(patience=2 * config.sync_period)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            Client.connect(config.api_servers, config.kubeconfig)
        )
        services, slices = Informer(client, Service), Informer(client, EndpointSlice)
        node = Informer(client, core.Node, field_selector=f"metadata.name={config.hostname}")
        periods = Periods(least=config.min_sync_period, full=config.sync_period)
        syncer = Syncer(writer, services, slices, periods, health)
        syncer.set_node(OwnNode(config.hostname))
        node.add_handler(lambda _, old, new: _on_node(config.hostname, new, syncer, health))
        checks = await stack.enter_async_context(
            HealthChecks.serving(config.bind_address, syncer, health)
        )
        await _serve_ports(stack, config, health, delegated(client.servers))
        async with _running(
            services=services.run(),
            slices=slices.run(),
            node=node.run(),
            syncer=syncer.run(),
            other_mode=_forget_other_mode(syncer, config.mode),
            health_checks=checks.run(),
        ) as ended:
            notify_ready()
            await _either(stop, ended)


async def _writer(config: Config) -> Writer:
    if config.mode == "nftables":
        # Loaded by who needs it: 0.3 MB on every machine.
        from worker.proxy.nft.writer import NftablesWriter

        # Node ports do not answer on 127.0.0.1 in this mode, and no rule guards it.
        _route_localnet("0")
        log.info("using nftables")
        return await NftablesWriter.open(Options(config.cluster_cidr, config.masquerade_bit))
    iptables = await Iptables.open(config.backend)
    log.info("using iptables", backend=iptables.backend)
    # Let node ports answer on 127.0.0.1, as upstream's default has it.
    options = Options(
        config.cluster_cidr, config.masquerade_bit, iptables.random_fully, _route_localnet("1")
    )
    return IptablesWriter(iptables, options)


async def _forget_other_mode(syncer: Syncer, mode: str) -> None:
    await syncer.wait_synced_again()
    await remove_other_mode(mode)


def _route_localnet(value: str) -> bool:
    try:
        _ROUTE_LOCALNET.write_text(value)
    except OSError as error:
        if value == "1":
            log.warning("node ports will not answer on localhost", error=str(error))
        return False
    return True


def _on_node(name: str, node: core.Node | None, syncer: Syncer, health: Health) -> None:
    health.node_eligible = eligible(node)
    if node is not None:
        syncer.set_node(node_of(node))


async def _serve_ports(
    stack: AsyncExitStack, config: Config, health: Health, access: Access
) -> None:
    tls = server_context(config.tls) if config.tls else None
    await stack.enter_async_context(
        metrics_server(config.bind_address, config.metrics_port, tls, access=access)
    )
    await stack.enter_async_context(
        http_server(health_pages(health, time.time), config.bind_address, config.healthz_port, None)
    )


@asynccontextmanager
async def _running(**work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run the named tasks during the block; yields a task that ends when one of them fails."""

    async def all_of_it() -> None:
        async with asyncio.TaskGroup() as group:
            for name, coroutine in work.items():
                group.create_task(coroutine, name=name)

    together = asyncio.create_task(all_of_it(), name="proxy")
    try:
        yield together
    finally:
        together.cancel()
        await asyncio.wait([together])
    if not together.cancelled():
        together.result()


async def _either(stop: asyncio.Event, ended: asyncio.Task[None]) -> None:
    waiter = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([waiter, ended], return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()


def main(argv: Sequence[str] | None = None) -> int:
    return run(serve, Config.from_argv(argv), "kube-proxy")
