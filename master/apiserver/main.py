"""Flags and wiring of the api-server."""

from __future__ import annotations

import argparse
import asyncio
import gc
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from kube.client.channel import MAX_RECEIVE_BYTES, SERVER_KEEPALIVE
from kube.component.log import get_logger
from kube.component.run import notify_ready, run
from kube.component.tls import TlsFiles, client_context, server_context
from kube.component.webapp import serve_app
from kube.rpc.listen import Listen
from kube.rpc.metrics import PrometheusObserver
from kube.rpc.transports import DEFAULT, add_flag, rpc_server
from master.apiserver.admission.chain import Chain
from master.apiserver.authn.identity import ANONYMOUS, LOOPBACK
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.bootstrap import Bootstrap
from master.apiserver.cache.cacher import Cacher
from master.apiserver.etcd3.compact import run_compactor
from master.apiserver.etcd3.connection import Connection
from master.apiserver.etcd3.lease import LeasePool
from master.apiserver.etcd3.store import Store
from master.apiserver.extensions.definitions import Definitions
from master.apiserver.filters.chain import filters_of
from master.apiserver.kinds.catalog import KINDS
from master.apiserver.kinds.registry import Registry
from master.apiserver.kinds.settings import Ranges, Settings, TolerationSeconds, parse_ranges
from master.apiserver.registry.api import Api
from master.apiserver.registry.reader import Reader
from master.apiserver.registry.writer import Writer
from master.apiserver.rest.app import FrontEnd, make_app
from master.apiserver.rest.health import HealthHandlers
from master.apiserver.rest.kubelet import KubeletProxy
from master.apiserver.rpc.service import ResourcesService, methods_of_resources

log = get_logger(__name__)
# Of the HTTPS port: watches, kubectl, streams. A connection that waits costs some 40 KiB.
_MAX_CONNECTIONS = 3000


@dataclass(frozen=True, slots=True)
class Config:
    """The api-server's settings; TLS is None only in tests on loopback."""

    etcd_servers: tuple[str, ...]
    etcd_tls: TlsFiles | None
    bind_address: str
    advertise_address: str
    secure_port: int
    grpc_port: int
    tls: TlsFiles | None
    kubelet_tls: TlsFiles | None
    ranges: Ranges
    tolerations: TolerationSeconds
    rpc_transport: str = DEFAULT

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = _parser()
        args = parser.parse_args(argv)
        try:
            ranges = parse_ranges(args.service_cluster_ip_range, args.service_node_port_range)
        except ValueError as error:
            parser.error(str(error))
        tls = _files(parser, args, "tls-cert-file", "tls-private-key-file", "client-ca-file")
        kubelet = _files(
            parser,
            args,
            "kubelet-client-certificate",
            "kubelet-client-key",
            "kubelet-certificate-authority",
        )
        return cls(
            etcd_servers=tuple(filter(None, args.etcd_servers.split(","))),
            etcd_tls=_files(parser, args, "etcd-certfile", "etcd-keyfile", "etcd-cafile"),
            bind_address=args.bind_address,
            advertise_address=args.advertise_address or args.bind_address,
            secure_port=args.secure_port,
            grpc_port=args.grpc_port,
            tls=tls,
            kubelet_tls=kubelet,
            ranges=ranges,
            tolerations=TolerationSeconds(
                args.default_not_ready_toleration_seconds,
                args.default_unreachable_toleration_seconds,
            ),
            rpc_transport=args.rpc_transport,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("apiserver", description="The Kubernetes API over etcd v3.")
    parser.add_argument("--etcd-servers", required=True, help="comma-separated URLs")
    parser.add_argument("--etcd-cafile")
    parser.add_argument("--etcd-certfile")
    parser.add_argument("--etcd-keyfile")
    parser.add_argument("--bind-address", default="0.0.0.0")  # noqa: S104 - upstream's
    parser.add_argument("--advertise-address", default="", help="where others reach this server")
    parser.add_argument("--secure-port", type=int, default=6443)
    parser.add_argument("--grpc-port", type=int, default=6444)
    parser.add_argument("--tls-cert-file")
    parser.add_argument("--tls-private-key-file")
    parser.add_argument("--client-ca-file")
    parser.add_argument("--kubelet-client-certificate")
    parser.add_argument("--kubelet-client-key")
    parser.add_argument("--kubelet-certificate-authority")
    parser.add_argument("--service-cluster-ip-range", default="10.96.0.0/16")
    parser.add_argument("--service-node-port-range", default="30000-32767")
    parser.add_argument("--default-not-ready-toleration-seconds", type=int, default=300)
    parser.add_argument("--default-unreachable-toleration-seconds", type=int, default=300)
    add_flag(parser)
    return parser


def _files(
    parser: argparse.ArgumentParser, args: argparse.Namespace, cert: str, key: str, ca: str
) -> TlsFiles | None:
    """Three flags that belong together: all or none."""
    paths = [getattr(args, flag.replace("-", "_")) for flag in (cert, key, ca)]
    if not any(paths):
        return None
    if not all(paths):
        parser.error(f"--{cert}, --{key} and --{ca} must be given together")
    return TlsFiles(*(Path(path) for path in paths))


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve until `stop`. Waits for the store for ever; /livez answers meanwhile."""
    etcd_tls = config.etcd_tls.material() if config.etcd_tls else None
    connection = Connection(config.etcd_servers, etcd_tls, config.rpc_transport)
    store = Store(connection)
    registry = Registry(KINDS)
    cacher = Cacher(store, registry)
    settings = Settings(config.ranges, config.tolerations)
    writer = Writer(store, cacher, LeasePool(store), settings)
    authorizer = Authorizer(cacher)
    filters = filters_of(authorizer, ANONYMOUS if config.tls else LOOPBACK)
    reader = Reader(store, cacher)
    api = Api(reader, writer, authorizer, Chain(store, cacher, settings, authorizer))
    definitions = Definitions(reader, writer, cacher, registry)
    health = HealthHandlers(store, cacher, authorizer, definitions)
    kubelet_tls = client_context(config.kubelet_tls) if config.kubelet_tls else None
    front = FrontEnd(
        registry,
        filters,
        api,
        authorizer,
        health,
        KubeletProxy(api, kubelet_tls),
        f"{config.advertise_address}:{config.secure_port}",
    )
    service = ResourcesService(registry, filters, api, authorizer)
    methods = list(methods_of_resources(service))
    grpc = rpc_server(
        config.rpc_transport,
        methods,
        [Listen(config.bind_address, config.grpc_port, config.tls)],
        PrometheusObserver(methods=methods),
        max_receive_bytes=MAX_RECEIVE_BYTES,
        keepalive=SERVER_KEEPALIVE,
    )
    context = server_context(config.tls, require_client_cert=False) if config.tls else None
    bootstrap = Bootstrap(
        store,
        cacher,
        writer,
        authorizer,
        config.ranges,
        config.advertise_address,
        config.secure_port,
    )
    async with (
        serve_app(
            make_app(front),
            config.bind_address,
            config.secure_port,
            context,
            max_connections=_MAX_CONNECTIONS,
        ) as port,  # fmt: skip
        asyncio.TaskGroup() as tasks,
        AsyncExitStack() as serving,
    ):
        running = [
            tasks.create_task(cacher.run(), name="watch cache"),
            tasks.create_task(run_compactor(store), name="compaction"),
            tasks.create_task(definitions.run(), name="custom resources"),
        ]
        ready = tasks.create_task(definitions.synced.wait(), name="first list")
        stopped = tasks.create_task(stop.wait(), name="stop")
        await asyncio.wait([ready, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            running.append(tasks.create_task(bootstrap.run(), name="bootstrap"))
            # Components come by gRPC: they find what lets them in.
            policed = tasks.create_task(bootstrap.policed.wait(), name="roles")
            await asyncio.wait([policed, stopped], return_when=asyncio.FIRST_COMPLETED)
            policed.cancel()
            # What was loaded will not be garbage: looking through it again and again, in the middle
            # of a request, takes 25 ms a time.
            gc.freeze()
            (grpc_port,) = await serving.enter_async_context(grpc)
            log.info("serving", https=port, grpc=grpc_port)
            notify_ready()
        await stop.wait()
        ready.cancel()
        health.stopping = True
        await bootstrap.withdraw()
        cacher.close_watchers()
        await serving.aclose()
        for task in running:
            task.cancel()
    await connection.close()


def main(argv: Sequence[str] | None = None) -> int:
    return run(serve, Config.from_argv(argv), "apiserver")
