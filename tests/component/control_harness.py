"""A real control plane in processes: stock etcd, our api-server, controllers, scheduler.

Kubelets are the test's own: `Agent` does with the API what a kubelet does (registers its
node, renews its lease, reports its pods as running, removes deleted ones), so that a test
can make one fall silent at a chosen moment.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from kube.api.apps import Deployment, DeploymentSpec, PodTemplateSpec
from kube.api.coordination import Lease, LeaseSpec
from kube.api.core import (
    Container,
    ContainerPort,
    Node,
    NodeCondition,
    NodeStatus,
    Pod,
    PodCondition,
    PodSpec,
)
from kube.api.meta import LabelSelector, ObjectMeta, OwnerReference
from kube.client.client import Client
from kube.client.informer import Informer
from kube.component.tls import TlsFiles
from kube.machinery.errors import AlreadyExists, Conflict, NotFound
from kube.machinery.scheme import key_of
from kube.machinery.times import format_micro, format_time, utc_now
from tests.component.kvstore_harness import ROOT, free_ports
from tests.component.pki_fixture import Pki

V = TypeVar("V")
# Everything a node failure waits for: short enough for a test, and longer than a crowded machine
# lets a heartbeat wait.
GRACE, MONITOR, TOLERATION = 5.0, 0.5, 3
LEASE_FLAGS = (
    "--leader-elect-lease-duration", "6", "--leader-elect-renew-deadline", "5",
    "--leader-elect-retry-period", "0.3",
)  # fmt: skip


def python_path() -> str:
    """This tree, after what a test has put in front (tests/security/loopwatch.py)."""
    return os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))


async def until(condition: Callable[[], Awaitable[V]], what: str, seconds: float = 60.0) -> V:
    """Poll until `condition` gives something true."""
    deadline = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


@dataclass
class ControlPlane:
    directory: Path
    pki: Pki
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    rest_port: int = 0
    grpc_ports: dict[str, int] = field(default_factory=dict)
    etcd_port: int = 0

    @property
    def servers(self) -> list[str]:
        return [f"127.0.0.1:{port}" for port in self.grpc_ports.values()]

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "admin.conf"

    def run(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        log = (self.directory / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": python_path()},
            )  # fmt: skip
        self.processes[name] = process
        return process

    def python(self, name: str, module: str, *flags: str) -> subprocess.Popen[bytes]:
        return self.run(name, sys.executable, "-m", module, *flags)

    def start_etcd(self) -> None:
        client, peer = free_ports(2)
        self.etcd_port = client
        url = f"http://127.0.0.1:{client}"
        self.run(
            "etcd", "etcd", "--data-dir", str(self.directory / "etcd"),
            "--listen-client-urls", url, "--advertise-client-urls", url,
            "--listen-peer-urls", f"http://127.0.0.1:{peer}",
        )  # fmt: skip

    def start_apiserver(self, name: str = "apiserver", script: Path | None = None) -> None:
        """The newest one is kubectl's; components started later know all of them. `script`: in
        place of the module, to say which kinds there are."""
        self.rest_port, self.grpc_ports[name] = free_ports(2)
        tls = self.pki.issue("apiserver")
        program = ("-m", "master.apiserver") if script is None else (str(script),)
        self.run(
            name, sys.executable, *program,
            "--etcd-servers", f"http://127.0.0.1:{self.etcd_port}",
            "--bind-address", "127.0.0.1", "--secure-port", str(self.rest_port),
            "--grpc-port", str(self.grpc_ports[name]), *_tls_flags(tls),
            "--default-not-ready-toleration-seconds", str(TOLERATION),
            "--default-unreachable-toleration-seconds", str(TOLERATION),
        )  # fmt: skip

    def start_controllers(self, name: str = "controllers", *flags: str) -> None:
        self._start_controllers(name, ("-m", "master.controllers"), *flags)

    def start_controllers_from(self, script: Path, *flags: str) -> None:
        """As `start_controllers`, but a script says which controllers there are."""
        self._start_controllers("controllers", (str(script),), *flags)

    def _start_controllers(self, name: str, program: Sequence[str], *flags: str) -> None:
        self._component(
            name, program, "system:kube-controller-manager",
            "--node-monitor-period", str(MONITOR), "--node-monitor-grace-period", str(GRACE),
            "--node-startup-grace-period", "20", "--root-ca-file", str(self.directory / "ca.crt"),
            *flags,
        )  # fmt: skip

    def start_scheduler(self, script: Path | None = None) -> None:
        """`script`: in place of the module, to say which plugins there are."""
        program = ("-m", "master.scheduler") if script is None else (str(script),)
        self._component("scheduler", program, "system:kube-scheduler", "--seed", "1")

    def start_state_metrics(self, name: str, port: int, telemetry_port: int) -> None:
        self.python(
            name, "master.statemetrics", "--api-servers", ",".join(self.servers),
            "--kubeconfig", str(self.identity("system:muster:state-metrics")),
            "--host", "127.0.0.1", "--port", str(port), "--telemetry-port", str(telemetry_port),
            *_tls_flags(self.pki.issue(f"{name}-serving")), *LEASE_FLAGS,
        )  # fmt: skip

    def _component(self, name: str, program: Sequence[str], user: str, *flags: str) -> None:
        (port,) = free_ports(1)
        self.run(
            name, sys.executable, *program, "--api-servers", ",".join(self.servers),
            "--kubeconfig", str(self.identity(user)), "--bind-address", "127.0.0.1",
            "--secure-port", str(port), *_tls_flags(self.pki.issue(f"{name}-serving")),
            *LEASE_FLAGS, *flags,
        )  # fmt: skip
        (self.directory / f"{name}.port").write_text(str(port))

    def identity(self, user: str, *organizations: str, path: Path | None = None) -> Path:
        """A kubeconfig of a user."""
        path = path or self.directory / f"{user.replace(':', '-')}.conf"
        tls = self.pki.issue(user, organizations=organizations)
        data = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {
                "server": f"https://127.0.0.1:{self.rest_port}",
                "certificate-authority-data": _base64(tls.ca),
            }}],
            "users": [{"name": "test", "user": {
                "client-certificate-data": _base64(tls.cert),
                "client-key-data": _base64(tls.key),
            }}],
        }  # fmt: skip
        path.write_text(yaml.safe_dump(data))
        return path

    def client(self) -> Client:
        return Client.connect(self.servers, self.kubeconfig)

    def kubectl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *args],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def wait_ready(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while self.kubectl("get", "--raw", "/readyz", check=False).stdout.strip() != "ok":
            assert time.monotonic() < deadline, (self.directory / f"{name}.log").read_text()
            time.sleep(0.1)

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes[name]
        process.send_signal(how)
        if how is signal.SIGKILL:
            process.wait(60)

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(60)


@contextlib.contextmanager
def control_plane(
    directory: Path,
    pki: Pki,
    apiservers: Sequence[str] = ("apiserver",),
    script: Path | None = None,
) -> Iterator[ControlPlane]:
    """etcd and the api-server, ready to answer; the test starts the rest."""
    plane = ControlPlane(directory, pki)
    (directory / "ca.crt").write_bytes((pki.directory / "ca.crt").read_bytes())
    try:
        plane.start_etcd()
        for name in apiservers:
            plane.start_apiserver(name, script)
            plane.identity("admin", "system:masters", path=plane.kubeconfig)
            plane.wait_ready(name)
        yield plane
    finally:
        plane.stop()


def _tls_flags(tls: TlsFiles) -> tuple[str, ...]:
    return (
        "--tls-cert-file", str(tls.cert), "--tls-private-key-file", str(tls.key),
        "--client-ca-file", str(tls.ca),
    )  # fmt: skip


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


class Agent:
    """What a kubelet tells the API, without containers."""

    def __init__(self, client: Client, name: str, number: int, cpu: str = "4") -> None:
        self.client, self.name, self.number, self.cpu = client, name, number, cpu
        self.alive = True
        self.works: Callable[[Pod], bool] = lambda pod: True
        self.pods = Informer(client, Pod, field_selector=f"spec.nodeName={name}")
        self._addresses: dict[str, str] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        self.pods.add_handler(lambda kind, old, new: self._wake.set())
        await self._register()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pods.run())
            tasks.create_task(self._heartbeat())
            tasks.create_task(self._report())

    def _status(self) -> NodeStatus:
        now = format_time(utc_now())
        ready = NodeCondition(
            type="Ready", status="True", reason="KubeletReady",
            last_heartbeat_time=now, last_transition_time=now,
        )  # fmt: skip
        room: dict[str, str | int | float] = {"cpu": self.cpu, "memory": "8Gi", "pods": "110"}
        return NodeStatus(allocatable=room, capacity=room, conditions=(ready,))

    async def _register(self) -> None:
        meta = ObjectMeta(name=self.name, labels={"kubernetes.io/hostname": self.name})
        node = await self.client.create(Node(metadata=meta, status=self._status()))
        lease = Lease(
            metadata=ObjectMeta(
                name=self.name, namespace="kube-node-lease",
                owner_references=(
                    OwnerReference(
                        api_version="v1", kind="Node", name=self.name, uid=node.metadata.uid
                    ),
                ),
            ),
            spec=LeaseSpec(holder_identity=self.name, renew_time=format_micro(utc_now())),
        )  # fmt: skip

        async def registered() -> bool:
            try:
                await self.client.create(lease)
            except AlreadyExists:  # a namesake's, which the garbage collector takes away
                return False
            return True

        await until(registered, f"the lease of {self.name}")

    async def _heartbeat(self) -> None:
        """Renews the lease; after a silence it also posts its status, as a kubelet would."""
        silent = False
        while True:
            if self.alive:
                stamp = {"spec": {"renewTime": format_micro(utc_now())}}
                await self.client.patch(Lease, self.name, stamp, "kube-node-lease")
                if silent:
                    await self._post_status()
            silent = not self.alive
            await asyncio.sleep(0.3)

    async def _post_status(self) -> None:
        node = await self.client.get(Node, self.name)
        with contextlib.suppress(Conflict):
            await self.client.update_status(msgspec.structs.replace(node, status=self._status()))

    async def _report(self) -> None:
        while True:
            self._wake.clear()
            if self.alive:
                for pod in self.pods.values():
                    with contextlib.suppress(NotFound, Conflict):
                        await self._tend(pod)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await self._wake.wait()

    async def _tend(self, pod: Pod) -> None:
        meta = pod.metadata
        if meta.deletion_timestamp:
            await self.client.delete(
                Pod, meta.name, meta.namespace, uid=meta.uid, grace_period_seconds=0
            )
            return
        wanted = str(self.works(pod))
        ready = next((c.status for c in pod.status.conditions if c.type == "Ready"), "")
        if pod.status.phase == "Running" and ready == wanted:
            return
        address = self._addresses.setdefault(
            key_of(pod), f"10.244.{self.number}.{len(self._addresses) + 2}"
        )
        condition = PodCondition(
            type="Ready", status=wanted, last_transition_time=format_time(utc_now())
        )
        others = tuple(c for c in pod.status.conditions if c.type != "Ready")
        status = msgspec.structs.replace(
            pod.status, phase="Running", pod_ip=address, conditions=(*others, condition)
        )
        await self.client.update_status(msgspec.structs.replace(pod, status=status))


@contextlib.asynccontextmanager
async def agents(client: Client, *names: str, cpu: str = "4") -> AsyncIterator[dict[str, Agent]]:
    """Agents by node name; ends them all."""
    made = {name: Agent(client, name, i + 1, cpu) for i, name in enumerate(names)}
    tasks = [asyncio.create_task(agent.run(), name=name) for name, agent in made.items()]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


def web(replicas: int, image: str = "web:1", name: str = "web", **spec: Any) -> Deployment:
    container = Container(
        name="c", image=image, ports=(ContainerPort(name="http", container_port=8080),)
    )
    labels = {"app": name}
    return Deployment(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(match_labels=labels),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=(container,), **spec)
            ),
        ),
    )
