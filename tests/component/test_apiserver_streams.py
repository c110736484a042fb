"""kubectl logs, exec and attach through the api-server to a kubelet's HTTPS port."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from aiohttp import WSMsgType, web

from kube.component.tls import server_context
from tests.component.apiserver_harness import Cluster, cluster, pod
from tests.component.kvstore_harness import wait_until
from tests.component.pki_fixture import Pki

PROTOCOL = "v5.channel.k8s.io"


@dataclass
class KubeletPort:
    """The streaming half of a kubelet: what the CRI's streaming server would answer.

    It upper-cases stdin, so that both directions are seen to carry bytes.
    """

    tls: ssl.SSLContext
    port: int = 0
    queries: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/containerLogs/default/{pod}/{container}", self.logs)
        app.router.add_get("/exec/default/{pod}/{container}", self.exec)
        return app

    def note(self, request: web.Request) -> None:
        self.queries.append(request.query_string)
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        subject = dict(item[0] for item in tls.getpeercert()["subject"])
        self.clients.append(subject["commonName"])

    async def logs(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        if request.match_info["pod"] == "broken":
            return web.Response(status=404, text="no log of that container")
        response = web.StreamResponse()
        await response.prepare(request)
        for line in (b"one\n", b"two\n"):
            await response.write(line)
        return response

    async def exec(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        stream = web.WebSocketResponse(protocols=(PROTOCOL,))
        await stream.prepare(request)
        if request.query.get("stdin") == "true":
            async for message in stream:
                assert message.type == WSMsgType.BINARY
                if message.data[:1] == b"\xff":  # stdin is closed
                    break
                await stream.send_bytes(b"\1" + message.data[1:].upper())
        else:
            await stream.send_bytes(b"\1" + " ".join(request.query.getall("command")).encode())
        await stream.send_bytes(
            b'\3{"metadata":{},"status":"Failure","reason":"NonZeroExitCode",'
            b'"message":"command terminated with non-zero exit code","details":{"causes":'
            b'[{"reason":"ExitCode","message":"7"}]}}'
        )
        await stream.close()
        return stream


@contextlib.contextmanager
def kubelet_port(pki: Pki) -> Iterator[KubeletPort]:
    """Serve in a thread of its own, as kubectl is waited for synchronously."""
    kubelet = KubeletPort(server_context(pki.issue("kubelet-serving")))
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(kubelet.app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=kubelet.tls)
        await site.start()
        kubelet.port = runner.addresses[0][1]
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        wait_until(lambda: kubelet.port, 60, "kubelet port")
        yield kubelet
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=60)
        loop.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("etcd", tmp_path_factory.mktemp("streams"), pki) as running:
        yield running


@pytest.fixture(scope="module")
def kubelet(lab: Cluster, pki: Pki) -> Iterator[KubeletPort]:
    with kubelet_port(pki) as port:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "w1"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port.port}},
            },
        }
        lab.apply(node, pod("web", nodeName="w1"), pod("broken", nodeName="w1"), pod("unbound"))
        yield port


def test_logs_come_from_the_pods_kubelet(lab: Cluster, kubelet: KubeletPort) -> None:
    assert lab.kubectl("logs", "web", "--tail=2", "-f").stdout == "one\ntwo\n"
    assert "tailLines=2" in kubelet.queries[-1]
    assert "follow=true" in kubelet.queries[-1]
    assert kubelet.clients[-1] == "kube-apiserver-client"


def test_the_kubelets_refusal_reaches_the_user(lab: Cluster, kubelet: KubeletPort) -> None:
    told = lab.kubectl("logs", "broken", check=False)
    assert told.returncode != 0
    assert "no log of that container" in told.stderr


def test_exec_carries_arguments_output_and_exit_code(lab: Cluster, kubelet: KubeletPort) -> None:
    done = lab.kubectl("exec", "web", "--", "echo", "a b", check=False)
    assert done.stdout == "echo a b"
    assert done.returncode == 7


def test_exec_carries_stdin_until_it_is_closed(lab: Cluster, kubelet: KubeletPort) -> None:
    text = "x" * 100_000 + "\n"
    done = lab.kubectl("exec", "-i", "web", "--", "cat", stdin=text, check=False)
    assert done.stdout == text.upper()
    assert done.returncode == 7


def test_unbound_pods_and_unknown_containers_are_told(lab: Cluster, kubelet: KubeletPort) -> None:
    told = lab.kubectl("exec", "unbound", "--", "ls", check=False).stderr
    assert "does not have a host assigned" in told
    told = lab.kubectl("logs", "web", "-c", "nope", check=False).stderr
    assert "container nope is not valid for pod web" in told


def test_spdy_clients_are_told_what_to_do(lab: Cluster, kubelet: KubeletPort) -> None:
    path = "/api/v1/namespaces/default/pods/web/exec?command=ls&stdout=true"
    told = lab.kubectl("create", "--raw", path, "-f", "/dev/null", check=False).stderr
    assert "Upgrade request required" in told


def test_a_kubelet_that_is_down_is_a_clear_error(lab: Cluster, kubelet: KubeletPort) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "w2"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}},
        },
    }
    lab.apply(node, pod("lost", nodeName="w2"))
    assert "127.0.0.1:1" in lab.kubectl("logs", "lost", check=False).stderr
    told = lab.kubectl("exec", "lost", "--", "ls", check=False).stderr
    assert "error dialing backend" in told
