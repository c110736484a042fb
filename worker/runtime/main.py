"""muster-runtime: flags and wiring."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kube.client.access import QUIET, delegated
from kube.client.channel import ServerList
from kube.component.access import Access
from kube.component.log import get_logger
from kube.component.metrics import metrics_server
from kube.component.openfiles import INHERITED
from kube.component.run import notify_ready, run
from kube.component.tls import TlsFiles, server_context
from kube.rpc.listen import Listen
from kube.rpc.metrics import PrometheusObserver
from kube.rpc.names import DEFAULT
from kube.rpc.service import Method, methods_of
from kube.rpc.transports import rpc_server
from kube.stubs.cri import api_pb2 as cri
from kube.stubs.runtime import images_pb2
from worker.runtime.containers.streaming import StreamingServer
from worker.runtime.images.registry import Puller
from worker.runtime.node import ContainerHost
from worker.runtime.oci import capabilities
from worker.runtime.oci.cgroups import Cgroups
from worker.runtime.oci.resources import NodeFacts, device_rules
from worker.runtime.oci.runtime import OciRuntime
from worker.runtime.sandboxes.cni import Cni
from worker.runtime.sandboxes.sandboxes import Places
from worker.runtime.service.image_service import ImageService, LoadService
from worker.runtime.service.operations import Operations
from worker.runtime.service.runtime_service import RuntimeService

log = get_logger(__name__)
DEFAULT_SOCKET = "/run/muster/runtime.sock"
_CAP_SYS_RESOURCE = "CAP_SYS_RESOURCE"
# Of the machine itself: it sees its own cgroup as the root.
_DEVICES_LIST = Path("/sys/fs/cgroup/devices/devices.list")
_MAX_MESSAGE = 16 << 20
_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Config:
    listen: Path
    root: Path
    state: Path
    oci_runtime: str
    conmon: str
    cni_conf_dir: Path
    cni_bin_dir: Path
    netns_dir: Path
    cgroup_parent: str
    streaming_address: tuple[str, int]
    metrics_address: tuple[str, int] | None
    tls: TlsFiles | None
    api_servers: tuple[str, ...]
    insecure_registries: frozenset[str]

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        a = _parser().parse_args(argv)
        tls = None
        if a.tls_cert_file and a.tls_private_key_file and a.client_ca_file:
            tls = TlsFiles(a.tls_cert_file, a.tls_private_key_file, a.client_ca_file)
        return cls(
            listen=Path(a.listen.removeprefix("unix://")),
            root=a.root,
            state=a.state,
            oci_runtime=_binary(a.oci_runtime),
            conmon=_binary(a.conmon),
            cni_conf_dir=a.cni_conf_dir,
            cni_bin_dir=a.cni_bin_dir,
            netns_dir=a.netns_dir,
            cgroup_parent="/" + a.cgroup_parent.strip("/"),
            streaming_address=_address(a.streaming_address, default_port=0),
            metrics_address=_address(a.metrics_address) if a.metrics_address else None,
            tls=tls,
            api_servers=tuple(filter(None, a.api_servers.split(","))),
            insecure_registries=frozenset(a.insecure_registry),
        )


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="muster-runtime", description=__doc__)
    p.add_argument("--listen", default=DEFAULT_SOCKET, help="unix socket that speaks CRI")
    p.add_argument(
        "--root",
        type=Path,
        default=Path("/var/lib/muster/runtime"),
        help="images and records; must be on a file system that overlayfs takes",
    )
    p.add_argument(
        "--state",
        type=Path,
        default=Path("/run/muster/runtime"),
        help="what a reboot may forget; must be a tmpfs",
    )
    p.add_argument("--oci-runtime", default="crun", help="crun or runc: a name or a path")
    p.add_argument("--conmon", default="conmon")
    p.add_argument("--cni-conf-dir", type=Path, default=Path("/etc/cni/net.d"))
    p.add_argument("--cni-bin-dir", type=Path, default=Path("/usr/lib/cni"))
    p.add_argument("--netns-dir", type=Path, default=Path("/run/netns"))
    p.add_argument("--cgroup-parent", default="/muster", help="for pods that name no cgroup parent")
    p.add_argument(
        "--streaming-address",
        "--stream-address",
        default="127.0.0.1:0",
        help="where exec and attach streams are served",
    )
    p.add_argument("--metrics-address", default="", help="host:port; empty for none")
    p.add_argument("--tls-cert-file", type=Path, help="of the metrics port")
    p.add_argument("--tls-private-key-file", type=Path)
    p.add_argument("--client-ca-file", type=Path)
    p.add_argument(
        "--api-servers",
        default="",
        help="host:6444[,host:6444...]: who says who may read the metrics; without any, every "
        "certificate of the CA",
    )
    p.add_argument(
        "--insecure-registry",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a registry that is pulled from over plain HTTP",
    )
    return p


def _binary(name: str) -> str:
    """The absolute path of a tool: conmon runs in another directory than we do."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise SystemExit(f"muster-runtime: {name} is not installed")
    return path


def _address(text: str, default_port: int | None = None) -> tuple[str, int]:
    if default_port is not None and ":" not in text:
        return text, default_port
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise SystemExit(f'muster-runtime: "{text}" is not HOST:PORT')
    return host.strip("[]"), int(port)


def node_facts(cgroup_parent: str) -> NodeFacts:
    """Read once what this node can give to containers."""
    status = Path("/proc/self/status").read_text()
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd"))
    available = capabilities.from_mask(int(bounding, 16))
    own_score = int(Path("/proc/self/oom_score_adj").read_text())
    # The root of a user namespace has the capability there only, and scores are the kernel's.
    any_score = _CAP_SYS_RESOURCE in available and not _in_user_namespace()
    cgroups = Cgroups()
    return NodeFacts(
        capabilities=available,
        oom_score_floor=-1000 if any_score else own_score,
        cgroup_v2=cgroups.v2,
        controllers=cgroups.controllers(),
        swap=cgroups.accounts_swap(),
        cgroup_parent=cgroup_parent,
        devices=device_rules(_DEVICES_LIST.read_text() if _DEVICES_LIST.exists() else ""),
        open_files=INHERITED,
    )


def _in_user_namespace() -> bool:
    """Only the first one has all 2**32 - 1 users (user_namespaces(7))."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


async def serve(config: Config, stop: asyncio.Event) -> None:
    places = Places(config.root, config.state, config.netns_dir)
    runtime = OciRuntime(config.oci_runtime, places.oci_state)
    cni = Cni(config.cni_conf_dir, config.cni_bin_dir, _directory(config.root / "cni"))
    node = ContainerHost(places, runtime, config.conmon, cni, node_facts(config.cgroup_parent))
    await node.restore()
    streaming = StreamingServer(node.execs)
    puller = Puller(config.root / "downloads", config.insecure_registries)
    await puller.clean()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(node.containers.close)
        host, port = config.streaming_address
        await stack.enter_async_context(streaming.serving(host, port, None))
        if config.metrics_address is not None:
            tls = server_context(config.tls) if config.tls else None
            access = await _access(stack, config)
            await stack.enter_async_context(
                metrics_server(*config.metrics_address, tls, access=access)
            )
        await stack.enter_async_context(_grpc_server(config.listen, node, streaming, puller))
        notify_ready(f"serving CRI on {config.listen}")
        log.info("serving", socket=str(config.listen), oci_runtime=config.oci_runtime)
        await stop.wait()


async def _access(stack: AsyncExitStack, config: Config) -> Access | None:
    """The runtime asks with the certificate by which it serves: it is no client of the API."""
    if not config.api_servers or config.tls is None:
        return None
    servers = ServerList(config.api_servers, config.tls.material(), options=QUIET)
    stack.push_async_callback(servers.close)
    return delegated(servers)


@asynccontextmanager
async def _grpc_server(
    path: Path, node: ContainerHost, streaming: StreamingServer, puller: Puller
) -> AsyncIterator[None]:
    operations = Operations()
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    async with rpc_server(
        DEFAULT,
        operations.watched(_methods(node, streaming, puller)),
        [Listen(f"unix:{path}", 0)],
        PrometheusObserver(),
        max_receive_bytes=_MAX_MESSAGE,
    ):
        # Whoever may write to this socket is root on the node.
        path.chmod(0o600)
        try:
            yield
        finally:
            node.events.close()
    await operations.drain(_GRACE_SECONDS)


def _methods(node: ContainerHost, streaming: StreamingServer, puller: Puller) -> Iterator[Method]:
    services = cri.DESCRIPTOR.services_by_name
    yield from methods_of(services["RuntimeService"], RuntimeService(node, streaming))
    yield from methods_of(services["ImageService"], ImageService(node, puller))
    yield from methods_of(images_pb2.DESCRIPTOR.services_by_name["Images"], LoadService(node))


def _directory(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    return run(serve, Config.from_argv(argv), "muster-runtime")
