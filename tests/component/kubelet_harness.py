"""A real kubelet on a machine of its own: a runtime, an etcd and an api-server, all with mTLS.

Everything runs in one network namespace, so that addresses are a node's; the test talks to
the api-server through a relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import grpc

from kube.api import core
from kube.client.client import Client
from kube.component.tls import TlsFiles, client_context
from kube.machinery import errors, scheme
from kube.stubs.cri import api_pb2 as cri
from kube.stubs.cri import api_pb2_grpc
from provision.pki.authority import KeyPair, LeafRequest, issue, new_authority
from provision.pki.kubeconfig import kubeconfig_bytes
from tests.component.runtime_harness import BUSYBOX, REPO, V2, Lab, wait_until

T = TypeVar("T")
NODE, NODE_IP = "t1", "10.254.77.254"
CNI_CACHE = Path("/var/lib/cni")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class ContainerdLab(Lab):
    """The same machine with stock containerd in the place of our runtime."""

    def __enter__(self) -> Lab:
        self._had_cache = CNI_CACHE.exists()
        return super().__enter__()

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        # libcni's cache has no flag; what it leaves is two empty directories.
        for directory in () if self._had_cache else (CNI_CACHE / "results", CNI_CACHE):
            if directory.exists():
                directory.rmdir()

    def start(self) -> None:
        config = self.root / "containerd.toml"
        config.write_text(self._config())
        with (self.root / "runtime.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.inside("nsenter", f"--net=/run/netns/{self.name}"), "containerd",
                 "--config", str(config)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        options = (("grpc.default_authority", "localhost"),)
        self._channel = grpc.insecure_channel(f"unix:{self.socket}", options=options)
        self.runtime = api_pb2_grpc.RuntimeServiceStub(self._channel)
        self.images = api_pb2_grpc.ImageServiceStub(self._channel)
        wait_until("containerd serves CRI", self._serves)

    def _config(self) -> str:
        """Traps: no snapshotters of other file systems, no AppArmor, no raising of oom scores."""
        return f"""
version = 2
root = "{self.root}/containerd"
state = "{self.state}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "muster.local/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{self.root}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""

    def load(self, archive: Path) -> list[Any]:
        subprocess.run(
            ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "import",
             str(archive)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return []


class Identities:
    """The certificates of one small cluster, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._dir, self._now = directory, datetime.now(UTC)
        directory.mkdir(parents=True, exist_ok=True)
        self._ca = new_authority("kubernetes", self._now)
        self.ca = self._write("ca", self._ca)

    def _write(self, name: str, pair: KeyPair) -> Path:
        cert, key = self._dir / f"{name}.crt", self._dir / f"{name}.key"
        cert.write_bytes(pair.cert)
        key.write_bytes(pair.key)
        return cert

    def files(self, name: str, user: str, *groups: str, serves: bool = False) -> TlsFiles:
        request = LeafRequest(
            user, groups, dns_names=("localhost", NODE) if serves else (),
            addresses=("127.0.0.1", NODE_IP) if serves else (), server=serves, client=True,
        )  # fmt: skip
        cert = self._write(name, issue(self._ca, request, self._now))
        return TlsFiles(cert, cert.with_suffix(".key"), self.ca)

    def kubeconfig(self, files: TlsFiles, name: str) -> Path:
        pair = KeyPair(files.cert.read_bytes(), files.key.read_bytes())
        path = self._dir / f"{name}.conf"
        server = "https://127.0.0.1:6443"
        path.write_bytes(kubeconfig_bytes(name, server, self.ca.read_bytes(), pair, name))
        return path


class Relay:
    """Joins a loopback port to one inside a network namespace, in a thread of its own."""

    def __init__(self, netns: str, port: int) -> None:
        self._netns, self._port = netns, port
        self._socket = socket.create_server(("127.0.0.1", 0))  # out here; the rest is inside
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(60)

    async def _serve(self) -> None:
        with Path(f"/run/netns/{self._netns}").open() as handle:
            assert _libc.setns(handle.fileno(), CLONE_NEWNET) == 0  # this thread only
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            ends = [writer]
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
                ends.append(far_writer)
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
                for end in ends:
                    await end.wait_closed()
            except (OSError, asyncio.CancelledError):
                # What cannot be sent any more would stay open beyond the loop's end.
                for end in ends:
                    end.transport.abort()
            tasks.discard(task)

        server = await asyncio.start_server(join, sock=self._socket)
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


class Machine:
    """One node: runtime, etcd, api-server and kubelet, started and stopped here."""

    def __init__(self, lab: Lab, kubelet_flags: Sequence[str] = ()) -> None:
        self.lab = lab
        self.kubelet_flags = tuple(kubelet_flags)
        self.identities = Identities(lab.root / "pki")
        self.server_files = self.identities.files("apiserver", "kube-apiserver", serves=True)
        self.kubelet_client = self.identities.files(
            "kubelet-client", "kube-apiserver-kubelet-client", "kubeadm:cluster-admins"
        )
        self.monitor = self.identities.files("monitor", "prometheus", "system:monitoring")
        self.serving = self.identities.files("kubelet", f"system:node:{NODE}", serves=True)
        node = self.identities.files("node", f"system:node:{NODE}", "system:nodes")
        self.node_kubeconfig = self.identities.kubeconfig(node, "kubelet")
        admin = self.identities.files("admin", "kubernetes-admin", "system:masters")
        self.admin_kubeconfig = self.identities.kubeconfig(admin, "admin")
        self.logs: dict[str, Path] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._relay: Relay | None = None

    def __enter__(self) -> Machine:
        ip = ["ip", "-n", self.lab.name, "addr", "add", f"{NODE_IP}/32", "dev", "lo"]
        subprocess.run(ip, check=True)
        try:
            self._start_control_plane()
            self.start_kubelet()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._processes)):
            self.stop(name)
        if self._relay is not None:
            self._relay.close()

    def _start_control_plane(self) -> None:
        self._relay = Relay(self.lab.name, 6444)
        self.start(
            "etcd", "etcd", "--data-dir", str(self.lab.root / "etcd"),
            "--listen-client-urls", "http://127.0.0.1:2379",
            "--advertise-client-urls", "http://127.0.0.1:2379",
            "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync",
        )  # fmt: skip
        self.start_apiserver()

    def start_apiserver(self) -> None:
        server, client = self.server_files, self.kubelet_client
        self.start(
            "apiserver", sys.executable, "-m", "master.apiserver",
            "--etcd-servers", "http://127.0.0.1:2379", "--advertise-address", NODE_IP,
            "--tls-cert-file", str(server.cert), "--tls-private-key-file", str(server.key),
            "--client-ca-file", str(server.ca),
            "--kubelet-client-certificate", str(client.cert),
            "--kubelet-client-key", str(client.key),
            "--kubelet-certificate-authority", str(client.ca),
        )  # fmt: skip
        wait_until("api-server is ready", self._api_ready, 60)

    def _api_ready(self) -> bool:
        return self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok"

    def start_kubelet(self) -> None:
        self.start(
            "kubelet", *self.lab.inside(), "env", f"--chdir={REPO}",
            sys.executable, "-m", "worker.kubelet",
            "--kubeconfig", str(self.node_kubeconfig), "--api-servers", "127.0.0.1:6444",
            "--hostname-override", NODE, "--node-ip", NODE_IP,
            "--container-runtime-endpoint", f"unix://{self.lab.socket}",
            "--root-dir", str(self.lab.root / "kubelet"), "--pod-logs-dir", str(self.lab.logs),
            "--tls-cert-file", str(self.serving.cert),
            "--tls-private-key-file", str(self.serving.key),
            "--client-ca-file", str(self.serving.ca),
            "--node-lease-duration-seconds", "4", "--node-lease-renew-interval", "1",
            "--node-status-update-frequency", "2", "--cluster-dns", "10.96.0.10",
            "--cgroup-root", f"/{self.lab.name}" if V2 else "/",
            "--machine-info", str(self.lab.root / "machine.json"), *self.kubelet_flags,
        )  # fmt: skip

    # -- processes

    def start(self, name: str, *command: str) -> None:
        path = self.logs.setdefault(name, self.lab.root / f"{name}.log")
        inside = ["nsenter", f"--net=/run/netns/{self.lab.name}"]
        with path.open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*inside, *command], cwd=REPO, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        process = self._processes.pop(name)
        process.send_signal(number)
        process.wait(60)

    def alive(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def kubectl(
        self, *words: str, check: bool = True, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.lab.name, "kubectl",
                   f"--kubeconfig={self.admin_kubeconfig}", *words]  # fmt: skip
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=120,
            env=os.environ | {"HOME": str(self.lab.root)},
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stderr}\n{self.tail()}"
        return done

    def popen_kubectl(self, *words: str) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", self.lab.name, "kubectl",
                   f"--kubeconfig={self.admin_kubeconfig}", *words]  # fmt: skip
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ | {"HOME": str(self.lab.root)},
        )  # fmt: skip

    def tail(self) -> str:
        """The ends of all logs: what a failure is explained with."""
        parts = [f"== {n}\n" + p.read_text()[-4000:] for n, p in self.logs.items() if p.exists()]
        return "\n".join(parts)

    # -- the api-server and the kubelet's own port

    def client(self) -> Client:
        assert self._relay is not None
        return Client.connect([self._relay.address], self.admin_kubeconfig)

    async def get(self, files: TlsFiles, path: str) -> tuple[int, str]:
        """GET from the kubelet's HTTPS port, with an identity."""
        future: Future[tuple[int, str]] = Future()

        def body() -> None:
            try:
                with Path(f"/run/netns/{self.lab.name}").open() as handle:
                    assert _libc.setns(handle.fileno(), CLONE_NEWNET) == 0  # this thread only
                url = f"https://{NODE_IP}:10250{path}"
                future.set_result(asyncio.run(fetch(client_context(files), url)))
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=body)
        thread.start()
        try:
            return await asyncio.wrap_future(future)
        finally:
            thread.join()


async def fetch(context: ssl.SSLContext, url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as response:
        return response.status, await response.text()


@contextlib.contextmanager
def machine(images: Path, runtime: str, *kubelet_flags: str) -> Iterator[Machine]:
    lab = ContainerdLab("runc") if runtime == "containerd" else Lab(runtime)
    with lab:
        (lab.root / "machine.json").write_text('{"cpus": 2, "memory_mib": 1024}')
        for archive in sorted(images.glob("*.tar")):
            lab.load(archive)
        with Machine(lab, kubelet_flags) as made:
            yield made


def runtime_pods(lab: Lab) -> list[cri.PodSandbox]:
    return list(lab.runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=10).items)


# ---- pods


def pod(name: str, *command: str, **spec: Any) -> core.Pod:
    """A pod bound to the node, with one busybox container `c`; `spec` overrides."""
    container = {"name": "c", "image": BUSYBOX, "command": list(command)}
    container |= spec.pop("container", {})
    body = {"nodeName": NODE, "terminationGracePeriodSeconds": 1, "containers": [container]}
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **spec.pop("metadata", {})},
        "spec": body | spec,
    }
    return scheme.decode(core.Pod, json.dumps(document))


async def until(what: str, check: Callable[[], Awaitable[T | None]], seconds: float = 60.0) -> T:
    """Poll until `check` gives something true; a bounded wait for a condition."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = await check()
        except errors.NotFound:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.03)


class Pods:
    """Makes pods, waits for what they become, and deletes them at the end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._made: list[str] = []

    async def create(self, wanted: core.Pod) -> core.Pod:
        self._made.append(wanted.metadata.name)
        return await self._client.create(wanted)

    async def get(self, name: str) -> core.Pod | None:
        try:
            return await self._client.get(core.Pod, name, "default")
        except errors.NotFound:
            return None

    async def when(
        self, name: str, what: str, check: Callable[[core.Pod], object], seconds: float = 60.0
    ) -> core.Pod:
        last: list[core.Pod | None] = []

        async def look() -> core.Pod | None:
            found = await self.get(name)
            last[:] = [found]
            return found if found is not None and check(found) else None

        try:
            return await until(f"pod {name} {what}", look, seconds)
        except AssertionError as error:
            status = scheme.encode(last[0]).decode() if last and last[0] else "no such pod"
            raise AssertionError(f"{error}\n{status}") from error

    async def ready(self, wanted: core.Pod) -> core.Pod:
        made = await self.create(wanted)
        return await self.when(made.metadata.name, "is ready", is_ready)

    async def gone(self, name: str, seconds: float = 60.0) -> None:
        async def look() -> bool:
            return await self.get(name) is None

        await until(f"pod {name} is gone", look, seconds)

    async def delete(self, name: str, grace: int | None = None) -> None:
        await self._client.delete(core.Pod, name, "default", grace_period_seconds=grace)

    async def clean(self) -> None:
        for name in self._made:
            with contextlib.suppress(errors.NotFound):
                await self.delete(name, 1)
        for name in self._made:
            await self.gone(name)


def is_ready(subject: core.Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in subject.status.conditions)


def container_status(subject: core.Pod) -> core.ContainerStatus:
    return subject.status.container_statuses[0]


def restarts(subject: core.Pod) -> int:
    return sum(s.restart_count or 0 for s in subject.status.container_statuses)


def waiting_reason(subject: core.Pod) -> str:
    statuses = subject.status.container_statuses
    state = statuses[0].state if statuses else None
    return state.waiting.reason if state and state.waiting else ""
