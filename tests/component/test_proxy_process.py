"""kube-proxy against the real api-server on a stock etcd, with its kubeconfig over mutual TLS.

All three run in the node's network namespace; the test speaks REST as an administrator.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.component.tls import TlsFiles
from tests.component.pki_fixture import Pki
from tests.component.proxy_harness import (
    NODE_IP,
    REPO,
    World,
    ask,
    endpoint_slice,
    service,
    until,
    world,
)

pytestmark = pytest.mark.root
SLICES = "/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices"
SERVICES = "/api/v1/namespaces/demo/services"


@dataclass
class Cluster:
    """etcd, api-server and proxy of one node."""

    made: World
    pki: Pki
    admin: TlsFiles
    directory: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        self.processes[name] = subprocess.Popen(
            self.made.node.command(*command), cwd=REPO, stderr=subprocess.DEVNULL
        )

    def start_etcd(self) -> None:
        self.start(
            "etcd", "etcd", "--data-dir", str(self.directory / "etcd"),
            "--listen-client-urls", "http://127.0.0.1:2379",
            "--advertise-client-urls", "http://127.0.0.1:2379",
            "--listen-peer-urls", "http://127.0.0.1:2380",
        )  # fmt: skip

    def start_api(self) -> None:
        self.start(
            "apiserver", sys.executable, "-m", "master.apiserver",
            "--etcd-servers", "http://127.0.0.1:2379", "--advertise-address", NODE_IP,
            *self._tls("apiserver"),
        )  # fmt: skip

    def start_proxy(self) -> None:
        self.start(
            "proxy", sys.executable, "-m", "worker.proxy", "--kubeconfig",
            str(self._kubeconfig()), "--api-servers", "127.0.0.1:6444",
            "--hostname-override", "w1", "--cluster-cidr", "10.244.0.0/16",
            *self._tls("component"),
        )  # fmt: skip

    def _tls(self, name: str) -> list[str]:
        files = self.pki.issue(name, addresses=("127.0.0.1", NODE_IP, "10.96.0.1"))
        return [
            "--tls-cert-file", str(files.cert), "--tls-private-key-file", str(files.key),
            "--client-ca-file", str(files.ca),
        ]  # fmt: skip

    def _kubeconfig(self) -> Path:
        files = self.pki.issue("system:kube-proxy", organizations=("system:node-proxier",))
        cluster = {"server": "https://127.0.0.1:6443", "certificate-authority": str(files.ca)}
        user = {"client-certificate": str(files.cert), "client-key": str(files.key)}
        document = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "lab", "user": "proxy"}}],
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "proxy", "user": user}],
        }
        path = self.directory / "kube-proxy.conf"
        path.write_text(yaml.safe_dump(document))
        return path

    def request(self, method: str, path: str, document: Any = None) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            context = ssl.create_default_context(cafile=str(self.admin.ca))
            context.load_cert_chain(self.admin.cert, self.admin.key)
            connection = http.client.HTTPSConnection("127.0.0.1", 6443, timeout=60, context=context)
            with contextlib.closing(connection):
                headers = {"Content-Type": "application/json"}
                connection.request(method, path, json.dumps(document or {}), headers)
                response = connection.getresponse()
                body: dict[str, Any] = json.loads(response.read())
                assert response.status < 300, body
                return body

        return self.made.node.call(work)

    def rules(self) -> str:
        return self.made.node.run("iptables-save")

    def end(self, name: str, sig: signal.Signals = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        process.send_signal(sig)
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pki = Pki.create(tmp_path / "pki")
    admin = pki.issue("kubernetes-admin", organizations=("system:masters",))
    with world() as made:
        running = Cluster(made, pki, admin, tmp_path)
        try:
            running.start_etcd()
            running.start_api()
            running.start_proxy()
            yield running
        finally:
            for name in reversed(list(running.processes)):
                running.end(name)


def quietly(work: Callable[[], Any]) -> Callable[[], Any]:
    """None while the other side does not answer yet."""

    def attempt() -> Any:
        try:
            return work()
        except (OSError, AssertionError, http.client.HTTPException):
            return None

    return attempt


async def test_services_of_the_real_api_server_become_rules(cluster: Cluster) -> None:
    """Created, changed, the api-server killed meanwhile, deleted."""
    namespace = {"metadata": {"name": "demo"}}
    await until(
        "api", quietly(lambda: cluster.request("POST", "/api/v1/namespaces", namespace)), 60
    )
    created = cluster.request("POST", SERVICES, service("web", ""))
    address = created["spec"]["clusterIP"]
    await until("refusal", lambda: "demo/web:web has no endpoints" in cluster.rules())
    cluster.request("POST", SLICES, endpoint_slice("web", "pod1"))
    await until("rules", lambda: "demo/web:web cluster IP" in cluster.rules())
    client = cluster.made.pods["pod2"]
    assert ask(client, address, 80)[0] == "pod1"

    assert cluster.end("apiserver", signal.SIGKILL) == -signal.SIGKILL
    assert ask(client, address, 80)[0] == "pod1"
    cluster.start_api()
    path = f"{SLICES}/web-1"
    current = await until("api again", quietly(lambda: cluster.request("GET", path)), 60)
    moved = endpoint_slice("web", "pod3")
    current["endpoints"] = moved["endpoints"]
    cluster.request("PUT", path, current)
    await until("moved", quietly(lambda: ask(client, address, 80)[0] == "pod3"))

    cluster.request("DELETE", f"{SERVICES}/web")
    await until("deleted", lambda: "demo/web" not in cluster.rules())


async def test_a_pod_reaches_the_api_server_by_its_service(cluster: Cluster) -> None:
    """The `kubernetes` service, whose endpoint is no pod."""
    await until("rules", lambda: "default/kubernetes:https ->" in cluster.rules(), 60)

    def status() -> int:
        context = ssl.create_default_context(cafile=str(cluster.admin.ca))
        connection = http.client.HTTPSConnection("10.96.0.1", 443, timeout=60, context=context)
        with contextlib.closing(connection):
            connection.request("GET", "/livez")
            return connection.getresponse().status

    assert await asyncio.to_thread(cluster.made.pods["pod1"].call, status) == 200


async def test_without_an_api_server_nothing_is_written_and_sigterm_ends_it(
    cluster: Cluster,
) -> None:
    """Rules are not touched before both lists are known; stopping is quick and clean."""
    cluster.end("proxy")
    cluster.end("apiserver")
    for flag in ("-F", "-X"):
        for table in ("nat", "filter", "mangle"):
            cluster.made.node.run("iptables", "-t", table, flag)
    cluster.start_proxy()

    def healthz() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", 10256, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            return connection.getresponse().status

    status = await until("port", quietly(lambda: cluster.made.node.call(healthz)), 60)
    assert status == 503
    assert "KUBE-" not in cluster.rules()
    assert cluster.end("proxy") == 0
