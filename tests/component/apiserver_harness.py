"""The api-server as a process, on our store or on stock etcd, over mTLS, with stock kubectl."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kube.component.tls import TlsFiles
from tests.component.kvstore_harness import ROOT, free_ports, wait_until
from tests.component.pki_fixture import Pki

STORES = ("etcd", "kvstore")


def spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)


def end(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@dataclass
class Store:
    """One member of the store: etcd and ours take the same flags."""

    kind: str
    directory: Path
    tls: TlsFiles
    client_port: int
    peer_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.client_port}"

    @property
    def transport(self) -> str:
        """Beside etcd everything speaks through the reference, beside our store through ours."""
        return "nghttp2" if self.kind == "kvstore" else "grpcio"

    def start(self) -> None:
        tls, peer = self.tls, f"https://127.0.0.1:{self.peer_port}"
        program = ["etcd", "--unsafe-no-fsync", "--logger", "zap"]
        if self.kind == "kvstore":
            program = [sys.executable, "-m", "master.kvstore"]
            program += ["--listen-metrics-urls", "", "--rpc-transport", self.transport]
        command = [
            *program, "--name", "s1", "--data-dir", str(self.directory / "data"),
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"s1={peer}",
            "--cert-file", str(tls.cert), "--key-file", str(tls.key),
            "--trusted-ca-file", str(tls.ca), "--client-cert-auth",
            "--peer-cert-file", str(tls.cert), "--peer-key-file", str(tls.key),
            "--peer-trusted-ca-file", str(tls.ca), "--peer-client-cert-auth",
        ]  # fmt: skip
        self.process = spawn(command, self.directory / "store.log")

    def stop(self) -> None:
        if self.process:
            end(self.process)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@dataclass
class ApiServer:
    """One api-server process on its own ports."""

    name: str
    directory: Path
    store: Store
    serving: TlsFiles
    client: TlsFiles
    https_port: int
    grpc_port: int
    address: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.https_port}"

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def log_file(self) -> Path:
        return self.directory / f"{self.name}.log"

    def start(self) -> None:
        command = [
            sys.executable, "-m", "master.apiserver", "--etcd-servers", self.store.url,
            "--etcd-cafile", str(self.client.ca), "--etcd-certfile", str(self.client.cert),
            "--etcd-keyfile", str(self.client.key), "--bind-address", "127.0.0.1",
            "--advertise-address", self.address, "--secure-port", str(self.https_port),
            "--grpc-port", str(self.grpc_port), "--tls-cert-file", str(self.serving.cert),
            "--tls-private-key-file", str(self.serving.key),
            "--client-ca-file", str(self.serving.ca),
            "--kubelet-client-certificate", str(self.client.cert),
            "--kubelet-client-key", str(self.client.key),
            "--kubelet-certificate-authority", str(self.client.ca),
            "--rpc-transport", self.store.transport,
        ]  # fmt: skip
        self.process = spawn(command, self.log_file)

    def stop(self) -> int:
        return end(self.process) if self.process else 0

    def log(self) -> str:
        return self.log_file.read_text()


@dataclass
class Cluster:
    """A store and its api-servers; kubectl as any user."""

    directory: Path
    pki: Pki
    store: Store
    servers: list[ApiServer] = field(default_factory=list)

    @property
    def server(self) -> ApiServer:
        return self.servers[0]

    def add_server(self, name: str, address: str = "127.0.0.1") -> ApiServer:
        https, grpc = free_ports(2)
        server = ApiServer(
            name,
            self.directory,
            self.store,
            self.pki.issue("kube-apiserver"),
            self.pki.issue("kube-apiserver-client", organizations=("kubeadm:cluster-admins",)),
            https,
            grpc,
            address,
        )
        server.start()
        self.servers.append(server)
        wait_until(lambda: self.ready(server), 60, lambda: f"{name} ready\n{server.log()}")
        return server

    def ready(self, server: ApiServer) -> bool:
        assert server.process is not None
        assert server.process.poll() is None, server.log()
        done = self.kubectl("get", "namespace", "default", check=False, server=server)
        return done.returncode == 0

    def kubeconfig(self, server: ApiServer, user: str, *groups: str) -> Path:
        """A kubeconfig with a client certificate of that user."""
        path = self.directory / f"{server.name}-{user.replace(':', '_')}.conf"
        if path.exists():
            return path
        identity = self.pki.issue(user.replace("/", "_"), organizations=groups)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": server.url,
                        "certificate-authority": str(identity.ca),
                    },
                }
            ],
            "users": [
                {
                    "name": "u",
                    "user": {
                        "client-certificate": str(identity.cert),
                        "client-key": str(identity.key),
                    },
                }
            ],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def kubectl(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | None = None,
        user: tuple[str, ...] = ("kubernetes-admin", "kubeadm:cluster-admins"),
        server: ApiServer | None = None,
        timeout: float = 90,
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            self.kubectl_command(*arguments, user=user, server=server),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment(),
        )
        if check and result.returncode:
            raise AssertionError(f"kubectl {arguments}: {result.stderr}{result.stdout}")
        return result

    def kubectl_command(
        self,
        *arguments: str,
        user: tuple[str, ...] = ("kubernetes-admin", "kubeadm:cluster-admins"),
        server: ApiServer | None = None,
    ) -> list[str]:
        config = self.kubeconfig(server or self.server, *user)
        return ["kubectl", f"--kubeconfig={config}", *arguments]

    def environment(self) -> dict[str, str]:
        # kubectl caches discovery below HOME; tests must not share that cache.
        return {**os.environ, "HOME": str(self.directory)}

    def get(self, *arguments: str) -> Any:
        """`kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def apply(self, *objects: dict[str, Any]) -> str:
        text = yaml.safe_dump_all(objects)
        return self.kubectl("apply", "-f", "-", stdin=text).stdout

    def stop(self) -> None:
        for server in self.servers:
            server.stop()
        self.store.stop()


@contextmanager
def cluster(kind: str, directory: Path, pki: Pki) -> Iterator[Cluster]:
    """A running store of that kind with one api-server on it."""
    client_port, peer_port = free_ports(2)
    store = Store(kind, directory, pki.issue(f"{kind}-server"), client_port, peer_port)
    made = Cluster(directory, pki, store)
    try:
        store.start()
        made.add_server("a")
        yield made
    finally:
        made.stop()


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "busybox:1"}], **spec},
    }


def deployment(name: str, replicas: int = 2) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {"name": "c", "image": "busybox:1", "ports": [{"containerPort": 80}]}
                    ]
                },
            },
        },
    }
