"""All eight components as processes on their usual ports, in one network namespace of their own.

What this subject is about is how they listen; so they have just what they need to stand.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kube.component.tls import TlsFiles, client_context
from tests.component.kubelet_harness import NODE, NODE_IP, Identities, Machine
from tests.component.runtime_harness import REPO, Lab, wait_until
from worker.runtime.kernel import run_in_network_namespace

RUNTIME_METRICS = 10011
SECONDS = 60.0
_LISTEN = "0A"


@dataclass(frozen=True)
class Port:
    """`speaks` is http, grpc, both, or peers; `anonymous`: a client without a certificate is let
    in, and may be refused what it asks."""

    component: str
    number: int
    speaks: str = "http"
    tls: bool = True
    anonymous: bool = False
    page: str = "/livez"

    @property
    def id(self) -> str:
        return f"{self.component}-{self.number}"

    @property
    def alpn(self) -> str:
        """What a client of it says that it speaks."""
        return {"peers": "", "http": "http/1.1"}.get(self.speaks, "h2")


PORTS = (
    Port("kvstore", 2379, "both", page="/health"),
    Port("kvstore", 2380, "peers"),
    Port("kvstore", 2381),
    Port("apiserver", 6443, anonymous=True),
    Port("apiserver", 6444, "grpc"),
    Port("scheduler", 10259),
    Port("controllers", 10257),
    Port("state-metrics", 8080),
    Port("state-metrics", 8081),
    Port("runtime", RUNTIME_METRICS),
    Port("kubelet", 10250, page="/healthz"),
    Port("kubelet", 10248, tls=False, anonymous=True, page="/healthz"),
    Port("proxy", 10249),
    Port("proxy", 10256, tls=False, anonymous=True),
    Port("network", 10012),
)


class World(Machine):
    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        for name, user in _USERS.items():
            files = self.identities.files(name, user)
            self.identities.kubeconfig(files, name)
        # What an ordinary holder of a cluster certificate is: no rights.
        self.nobody = self.identities.files("nobody", "nobody")
        other = Identities(lab.root / "another-pki").files("stranger", "kubernetes-admin")
        self.stranger = TlsFiles(other.cert, other.key, self.server_files.ca)

    def _start_control_plane(self) -> None:
        self._start_store()
        self.start_apiserver()
        for name, module in (
            ("scheduler", "master.scheduler"),
            ("controllers", "master.controllers"),
        ):
            self._python(
                name, module, "--api-servers", "127.0.0.1:6444", "--kubeconfig", self._conf(name),
                *self.tls_flags(), "--bind-address", NODE_IP,
            )  # fmt: skip
        self._python(
            "state-metrics", "master.statemetrics", "--api-servers", "127.0.0.1:6444",
            "--kubeconfig", self._conf("state-metrics"), *self.tls_flags(), "--host", NODE_IP,
            "--telemetry-host", NODE_IP,
        )  # fmt: skip
        self._python(
            "proxy", "worker.proxy", "--api-servers", "127.0.0.1:6444", "--kubeconfig",
            self._conf("proxy"), "--hostname-override", NODE, *self.tls_flags(),
        )  # fmt: skip
        self._python(
            "network", "worker.network", "--api-servers", "127.0.0.1:6444", "--kubeconfig",
            self._conf("network"), "--node-name", NODE, *self.tls_flags(),
            "--metrics-port", "10012", "--bind-address", NODE_IP, "--cluster-cidr", "10.244.0.0/16",
            "--cni-conf-dir", str(self.lab.root / "cni-of-the-agent"),
        )  # fmt: skip

    def _start_store(self) -> None:
        tls, client, peer = self.server_files, f"https://{NODE_IP}:2379", f"https://{NODE_IP}:2380"
        self._python(
            "kvstore", "master.kvstore", "--name", "s1", "--data-dir", str(self.lab.root / "store"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"s1={peer}", "--listen-metrics-urls", f"https://{NODE_IP}:2381",
            "--cert-file", str(tls.cert), "--key-file", str(tls.key),
            "--trusted-ca-file", str(tls.ca), "--client-cert-auth",
            "--peer-cert-file", str(tls.cert), "--peer-key-file", str(tls.key),
            "--peer-trusted-ca-file", str(tls.ca), "--peer-client-cert-auth",
        )  # fmt: skip

    def start_apiserver(self) -> None:
        server, client = self.server_files, self.kubelet_client
        self._python(
            "apiserver", "master.apiserver", "--etcd-servers", f"https://{NODE_IP}:2379",
            "--etcd-cafile", str(server.ca), "--etcd-certfile", str(server.cert),
            "--etcd-keyfile", str(server.key), "--advertise-address", NODE_IP, *self.tls_flags(),
            "--kubelet-client-certificate", str(client.cert),
            "--kubelet-client-key", str(client.key),
            "--kubelet-certificate-authority", str(client.ca),
        )  # fmt: skip
        wait_until("api-server is ready", self._api_ready, SECONDS)

    def _python(self, name: str, module: str, *flags: str) -> None:
        self.start(name, "env", f"--chdir={REPO}", sys.executable, "-m", module, *flags)

    def _conf(self, name: str) -> str:
        return str(self.lab.root / "pki" / f"{name}.conf")

    def tls_flags(self) -> tuple[str, ...]:
        files = self.server_files
        return (
            "--tls-cert-file", str(files.cert), "--tls-private-key-file", str(files.key),
            "--client-ca-file", str(files.ca),
        )  # fmt: skip

    # -- clients, which are anywhere: a socket stays in the namespace that it was made in

    def inside(self, make: Callable[[], socket.socket]) -> socket.socket:
        made: list[socket.socket] = []
        path = Path("/run/netns", self.lab.name)
        run_in_network_namespace(path, lambda: made.append(make()))
        return made[0]

    def unconnected(self) -> socket.socket:
        opened = self.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        opened.settimeout(SECONDS)
        return opened

    def connect(self, port: Port) -> socket.socket:
        """Plain TCP."""
        opened = self.unconnected()
        try:
            opened.connect((self.host(port), port.number))
        except OSError:
            opened.close()
            raise
        return opened

    def host(self, port: Port) -> str:
        loopback = port.number == 10248 or port.component == "runtime"
        return "127.0.0.1" if loopback else NODE_IP

    def listening(self, component: str) -> set[int]:
        """The TCP ports of a process, as the kernel lists them."""
        own = Path(f"/proc/{self.pid(component)}")
        inodes = set()
        for descriptor in (own / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                inodes.add(str(descriptor.readlink()))
        lines = (line.split() for line in (own / "net/tcp").read_text().splitlines()[1:])
        return {
            int(fields[1].split(":")[1], 16)
            for fields in lines
            if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in inodes
        }

    def secure(self, port: Port, who: TlsFiles | None, *, alpn: str = "") -> ssl.SSLSocket:
        if who is None:
            context = ssl.create_default_context(cafile=str(self.server_files.ca))
        else:
            context = client_context(who)
        if alpn:
            context.set_alpn_protocols([alpn])
        raw = self.connect(port)
        try:
            return context.wrap_socket(raw, server_hostname=self.host(port))
        except OSError:
            raw.close()
            raise

    def http(self, port: Port, who: TlsFiles | None, path: str = "") -> int:
        """The status of one GET; 0 if the connection ends without an answer."""
        try:
            opened = self.secure(port, who, alpn="http/1.1") if port.tls else self.connect(port)
        except (ssl.SSLError, ConnectionError):
            return 0
        with contextlib.closing(opened):
            return status(opened, path or port.page)

    def pid(self, component: str) -> int:
        """`env` and nsenter become the component."""
        if component == "runtime":
            assert self.lab.process is not None
            return self.lab.process.pid
        return self._processes[component].pid

    def served(self, port: Port) -> bool:
        try:
            self.connect(port).close()
        except OSError:
            return False
        return True


_USERS = {
    "scheduler": "system:kube-scheduler",
    "controllers": "system:kube-controller-manager",
    "state-metrics": "system:muster:state-metrics",
    "proxy": "system:kube-proxy",
    "network": "system:muster:network",
}


def status(opened: socket.socket, path: str) -> int:
    """GET `path` on an open connection; 0 without an answer."""
    line = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):  # refused before it has all been sent
        opened.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    try:
        while not line.endswith(b"\r\n"):
            if not (byte := opened.recv(1)):
                return 0
            line += byte
    except (ssl.SSLError, ConnectionError):
        return 0
    return int(line.split(b" ")[1])


@contextlib.contextmanager
def world() -> Iterator[World]:
    lab = Lab("crun")
    made = World(lab)  # the runtime needs its certificate
    (lab.root / "machine.json").write_text('{"cpus": 2, "memory_mib": 1024}')
    lab.flags = (f"--metrics-address=127.0.0.1:{RUNTIME_METRICS}", *made.tls_flags())
    with lab, made:
        try:
            for port in PORTS:
                wait_until(f"{port.id} listens", partial(made.served, port), SECONDS)
            yield made
        except BaseException:
            print(made.tail())
            raise
