"""The kubelet's flags, and the wiring of all its parts. `start` loads it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from kube.api import core
from kube.client.access import delegated
from kube.client.client import Client
from kube.client.events import EventRecorder
from kube.client.informer import Informer
from kube.component.log import get_logger
from kube.component.run import notify_ready
from kube.component.tls import TlsFiles, load_kubeconfig, server_context
from kube.component.version import architecture
from kube.component.webapp import serve_app
from kube.machinery.nodelabels import KUBELET_DOMAINS, KUBELET_LABELS, is_kubelets
from kube.machinery.quantity import whole
from worker.kubelet import metrics
from worker.kubelet.cri.configs import NodeShape
from worker.kubelet.cri.images import Images
from worker.kubelet.cri.logrotation import LogRotation, RotationPolicy
from worker.kubelet.cri.runtime import Runtime, RuntimeFailure
from worker.kubelet.node import machine
from worker.kubelet.node.certificates import not_after
from worker.kubelet.node.cgroups import Cgroups
from worker.kubelet.node.eviction import DEFAULT_THRESHOLDS, Pressures, parse_thresholds
from worker.kubelet.node.evictor import EvictionSettings, Evictor
from worker.kubelet.node.heartbeat import Heartbeat
from worker.kubelet.node.node import NodeFacts, parse_labels, parse_taint
from worker.kubelet.node.nodeagent import AgentSettings, NodeAgent
from worker.kubelet.pod.admission import HostPort, NodeOffers, allowed_sysctls
from worker.kubelet.pod.dns import ClusterDns, parse_resolv_conf
from worker.kubelet.pod.gate import Gate, RuntimeFeatures, kernel_has_apparmor
from worker.kubelet.pod.podset import PodSet
from worker.kubelet.pod.security import SeccompSettings
from worker.kubelet.pod.sources import SourceReader
from worker.kubelet.pod.statuses import StatusWriter
from worker.kubelet.pod.usernamespaces import UserNamespaces
from worker.kubelet.server.authorization import ALLOWED_SECONDS, DENIED_SECONDS
from worker.kubelet.server.server import Server
from worker.kubelet.tools import NodeSettings, Tools
from worker.kubelet.volumes.podfiles import PodFiles
from worker.kubelet.volumes.volumes import Volumes

log = get_logger(__name__)
STARTS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Config:
    """The flags."""

    kubeconfig: Path | None
    api_servers: tuple[str, ...]
    name: str
    node_ip: str
    endpoint: str
    taints: tuple[core.Taint, ...]
    labels: dict[str, str]
    tls: TlsFiles | None
    address: str
    port: int
    healthz_port: int
    root: Path
    pod_logs: Path
    machine_info: Path
    update_seconds: float
    max_pods: int
    cluster_dns: tuple[str, ...]
    cluster_domain: str
    resolv_conf: Path
    cgroup_root: str
    seccomp_default: bool
    sysctls: tuple[str, ...]
    pod_max_pids: int
    rotation: RotationPolicy
    eviction: EvictionSettings

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = _parser()
        flags = parser.parse_args(argv)
        try:
            taints = tuple(parse_taint(t) for t in _split(flags.register_with_taints))
        except ValueError as error:
            parser.error(f"--register-with-taints: {error}")
        labels = parse_labels(flags.node_labels)
        if refused := sorted(key for key in labels if not is_kubelets(key)):
            # The api-server would refuse the registration, again and again.
            parser.error(
                f"--node-labels: unknown 'kubernetes.io' or 'k8s.io' labels {', '.join(refused)}: "
                f"they must be in one of {', '.join(KUBELET_DOMAINS)}, or one of "
                f"{', '.join(sorted(KUBELET_LABELS))}"
            )
        if flags.container_log_max_files < 2:
            parser.error("--container-log-max-files: must be greater than 1")
        try:
            sysctls = allowed_sysctls(_split(flags.allowed_unsafe_sysctls))
        except ValueError as error:
            parser.error(f"--allowed-unsafe-sysctls: {error}")
        try:
            thresholds = DEFAULT_THRESHOLDS
            if flags.eviction_hard is not None:
                thresholds = parse_thresholds(flags.eviction_hard)
        except (ValueError, ArithmeticError) as error:
            parser.error(f"--eviction-hard: {error}")
        tls = None
        if flags.tls_cert_file and flags.tls_private_key_file and flags.client_ca_file:
            tls = TlsFiles(flags.tls_cert_file, flags.tls_private_key_file, flags.client_ca_file)
        return cls(
            kubeconfig=flags.kubeconfig,
            api_servers=_split(flags.api_servers),
            name=flags.hostname_override.lower(),
            node_ip=flags.node_ip,
            endpoint=flags.container_runtime_endpoint,
            taints=taints,
            labels=labels,
            tls=tls,
            address=flags.address,
            port=flags.port,
            healthz_port=flags.healthz_port,
            root=flags.root_dir,
            pod_logs=flags.pod_logs_dir,
            machine_info=flags.machine_info,
            update_seconds=flags.node_status_update_frequency,
            max_pods=flags.max_pods,
            cluster_dns=_split(flags.cluster_dns),
            cluster_domain=flags.cluster_domain,
            resolv_conf=flags.resolv_conf,
            cgroup_root=flags.cgroup_root,
            seccomp_default=flags.seccomp_default,
            sysctls=sysctls,
            pod_max_pids=flags.pod_max_pids,
            rotation=RotationPolicy(
                whole(flags.container_log_max_size),
                flags.container_log_max_files,
                flags.container_log_monitor_interval,
            ),
            eviction=EvictionSettings(
                thresholds,
                flags.eviction_monitor_interval,
                flags.eviction_pressure_transition_period,
            ),
        )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubelet", description="runs the pods of this node")
    add = parser.add_argument
    add("--kubeconfig", type=Path, help="identity and CA; without it plaintext (tests)")
    add("--api-servers", required=True, help="host:6444[,host:6444...]")
    add("--hostname-override", required=True, help="the node's name")
    add("--node-ip", required=True)
    add("--container-runtime-endpoint", default="unix:///run/muster/runtime.sock")
    add("--register-with-taints", default="", help="key=value:Effect[,...]")
    add("--node-labels", default="", help="a=b[,...]")
    add("--tls-cert-file", type=Path)
    add("--tls-private-key-file", type=Path)
    add("--client-ca-file", type=Path)
    add("--address", default="0.0.0.0", help="where the server listens")  # noqa: S104 - upstream's
    add("--port", type=int, default=10250)
    add("--healthz-port", type=int, default=10248)
    add("--root-dir", type=Path, default=Path("/var/lib/kubelet"))
    add("--pod-logs-dir", type=Path, default=Path("/var/log/pods"))
    add("--machine-info", type=Path, default=Path("/etc/muster/machine.json"))
    add("--node-lease-duration-seconds", type=float, default=40.0)
    add("--node-lease-renew-interval", type=float, default=10.0)
    add("--node-status-update-frequency", type=float, default=10.0)
    add("--max-pods", type=int, default=110)
    add("--cluster-dns", default="", help="IP[,IP...]")
    add("--cluster-domain", default="cluster.local")
    add("--resolv-conf", type=Path, default=Path("/etc/resolv.conf"))
    add("--cgroup-root", default="/")
    add(
        "--seccomp-default",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="RuntimeDefault for pods that name no seccomp profile",
    )
    add("--allowed-unsafe-sysctls", default="", help="name or pattern*[,...]")
    add("--container-log-max-size", default="10Mi", help="a larger log is rotated")
    add("--container-log-max-files", type=int, default=5, help="of a container, at least 2")
    add("--container-log-monitor-interval", type=float, default=10.0, metavar="SECONDS")
    add("--eviction-hard", help="signal<quantity[,...]; else upstream's thresholds")
    add("--eviction-monitor-interval", type=float, default=10.0, metavar="SECONDS")
    add("--eviction-pressure-transition-period", type=float, default=300.0, metavar="SECONDS")
    add("--pod-max-pids", type=int, default=-1, help="tasks of one pod; -1: no limit")
    return parser


async def serve(config: Config, stop: asyncio.Event, client: Client, heartbeat: Heartbeat) -> None:
    """Run the kubelet until `stop` is set. Containers go on running afterwards."""
    async with (
        Runtime(config.endpoint) as runtime,
        # Probes and streams: a connection each, as many as there are.
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            # As upstream's: what a pod answers is read as it is, and never becomes larger.
            skip_auto_headers=("Accept-Encoding",),
            auto_decompress=False,
        ) as session,
    ):
        version = await _runtime_version(runtime, stop)
        if version is None:
            return
        await _serve_with(config, stop, runtime, client, session, version, heartbeat)


async def _runtime_version(runtime: Runtime, stop: asyncio.Event) -> tuple[str, str] | None:
    """(name, version), waiting for a runtime that starts together with us."""
    told = False
    while not stop.is_set():
        try:
            found = await runtime.version()
            return found.runtime_name, found.runtime_version
        except RuntimeFailure as error:
            if not told:
                log.warning("waiting for the container runtime", error=error.details)
                told = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await stop.wait()
    return None


async def _serve_with(
    config: Config,
    stop: asyncio.Event,
    runtime: Runtime,
    client: Client,
    session: aiohttp.ClientSession,
    version: tuple[str, str],
    heartbeat: Heartbeat,
) -> None:
    size = machine.read_machine(config.machine_info)
    config.root.mkdir(parents=True, exist_ok=True)
    events = EventRecorder(client, "kubelet", config.name)
    services = Informer(client, core.Service)
    pods = Informer(client, core.Pod, field_selector=f"spec.nodeName={config.name}")
    gate = _gate(config)
    with contextlib.suppress(RuntimeFailure):  # the node agent asks again
        gate.features.take(await runtime.status())
    tools = _tools(config, size, runtime, client, session, events, services, gate, version[0])
    podset = PodSet(tools, pods)
    rotation = LogRotation(runtime, config.pod_logs, config.rotation, podset.containers)
    facts = _facts(config, size, version)
    settings, health = _agent_settings(config), podset.pleg.health
    agent = NodeAgent(
        client, runtime, events, facts, settings, health, gate.features, gate.pressures, heartbeat
    )
    evictor = Evictor(tools, podset, size, config.root, config.eviction, gate.pressures, agent.wake)
    _set_static_metrics(config)
    server = Server(tools, podset, {"pleg": podset.pleg.health})
    async with _listening(config, server, client):
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(events.run(), name="events"),
                tasks.create_task(services.run(), name="services"),
                tasks.create_task(agent.run(), name="node-agent"),
                # The node must exist before pods can be listed by the Node authorizer.
                tasks.create_task(pods.run(), name="pods"),
                tasks.create_task(podset.run(), name="podset"),
                tasks.create_task(rotation.run(), name="log-rotation"),
                tasks.create_task(evictor.run(), name="evictor"),
            ]
            notify_ready(f"node {config.name}")
            await stop.wait()
            await podset.close()
            for task in running:
                task.cancel()
        tools.statuses.close()


def _tools(
    config: Config,
    size: machine.Machine,
    runtime: Runtime,
    client: Client,
    session: aiohttp.ClientSession,
    events: EventRecorder,
    services: Informer[core.Service],
    gate: Gate,
    runtime_name: str,
) -> Tools:
    sources = SourceReader(client, services)
    sources.allocatable = {
        "cpu": size.cpu_milli,
        "memory": size.memory_bytes,
        "ephemeral-storage": machine.disk(config.root).capacity,
    }
    resolv = config.resolv_conf.read_text() if config.resolv_conf.exists() else ""
    hosts = Path("/etc/hosts")
    node = NodeSettings(
        name=config.name,
        ip=config.node_ip,
        runtime_name=runtime_name,
        shape=NodeShape(
            size.memory_bytes,
            config.cgroup_root,
            config.pod_logs,
            SeccompSettings(str(config.root / "seccomp"), config.seccomp_default),
        ),
        dns=ClusterDns(config.cluster_dns, config.cluster_domain, parse_resolv_conf(resolv)),
        hosts_text=hosts.read_text() if hosts.exists() else "",
        pod_logs=config.pod_logs,
    )
    return Tools(
        node=node,
        client=client,
        runtime=runtime,
        images=Images(runtime),
        volumes=Volumes(config.root),
        files=PodFiles(config.root, config.pod_logs),
        cgroups=Cgroups(pod_max_pids=config.pod_max_pids),
        gate=gate,
        users=UserNamespaces(config.root, config.max_pods),
        sources=sources,
        statuses=StatusWriter(client),
        events=events,
        session=session,
        starts=asyncio.Semaphore(STARTS_AT_ONCE),
    )


def _gate(config: Config) -> Gate:
    own = (HostPort("TCP", config.port), HostPort("TCP", config.healthz_port))
    offers = NodeOffers(
        apparmor=kernel_has_apparmor(), allowed_sysctls=config.sysctls, own_ports=own
    )
    return Gate(offers, RuntimeFeatures(), Pressures(config.eviction.transition_seconds))


def _facts(config: Config, size: machine.Machine, version: tuple[str, str]) -> NodeFacts:
    return NodeFacts(
        name=config.name,
        ip=config.node_ip,
        port=config.port,
        architecture=architecture(),
        cpu_milli=size.cpu_milli,
        memory_bytes=size.memory_bytes,
        disk_bytes=machine.disk(config.root).capacity,
        max_pods=config.max_pods,
        system=machine.system_info(),
        runtime_version=f"{version[0]}://{version[1]}",
    )


def _agent_settings(config: Config) -> AgentSettings:
    return AgentSettings(
        labels=config.labels,
        taints=config.taints,
        endpoint=config.endpoint,
        update_seconds=config.update_seconds,
    )


@asynccontextmanager
async def _listening(config: Config, server: Server, client: Client) -> AsyncIterator[None]:
    """The HTTPS port, and plain health on loopback."""
    tls = server_context(config.tls) if config.tls else None
    access = delegated(client.servers, ALLOWED_SECONDS, DENIED_SECONDS) if tls else None
    host = config.address if tls else "127.0.0.1"
    async with (
        serve_app(server.app(access), host, config.port, tls),
        serve_app(server.health_app(), "127.0.0.1", config.healthz_port, None),
    ):
        yield


def _set_static_metrics(config: Config) -> None:
    metrics.NODE_NAME.labels(config.name).set(1)
    metrics.NODE_CONFIG_ERROR.set(0)
    if config.tls:
        metrics.SERVER_TTL.set_function(
            metrics.seconds_left(not_after(config.tls.cert.read_text()))
        )
    if config.kubeconfig:
        material = load_kubeconfig(config.kubeconfig).material
        metrics.CLIENT_TTL.set_function(metrics.seconds_left(not_after(material.cert.decode())))
