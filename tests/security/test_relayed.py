"""A hostile kubelet answers the api-server: what it says is streamed, bounded, and not believed."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kube.component.tls import client_context, server_context
from tests.component.apiserver_harness import Cluster, cluster, pod
from tests.component.kvstore_harness import wait_until
from tests.component.pki_fixture import Pki

MIB = 1 << 20
PIECE = b"x" * (256 << 10)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Hostile:
    """TLS, then whatever the attack says. `sent` counts what was taken of it."""

    tls: ssl.SSLContext
    listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    attack: Callable[[ssl.SSLSocket], None] = lambda _: None
    asked: list[bytes] = field(default_factory=list)
    sent: int = 0

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def serve(self) -> None:
        while True:
            try:
                accepted, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(accepted,), daemon=True).start()

    def _one(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError), accepted:
            accepted.settimeout(60)
            with self.tls.wrap_socket(accepted, server_side=True) as opened:
                self.asked.append(opened.recv(65536))
                self.attack(opened)

    def pour(self, opened: ssl.SSLSocket, data: bytes, times: int) -> None:
        self.sent = 0
        for _ in range(times):
            opened.sendall(data)
            self.sent += len(data)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("etcd", tmp_path_factory.mktemp("relayed"), pki) as running:
        yield running


@pytest.fixture(scope="module")
def kubelet(lab: Cluster, pki: Pki) -> Iterator[Hostile]:
    made = Hostile(server_context(pki.issue("hostile-kubelet")))
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "w1"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": made.port}},
            },
        }
        lab.apply(node, pod("web", nodeName="w1"))
        yield made
    finally:
        made.listening.shutdown(socket.SHUT_RDWR)
        made.listening.close()
        thread.join(60)


@pytest.fixture
def client(lab: Cluster, pki: Pki) -> Iterator[ssl.SSLSocket]:
    """Has asked for the pod's log and reads slowly: its receive buffer is small."""
    admin = pki.issue("relayed-admin", organizations=("kubeadm:cluster-admins",))
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    raw.settimeout(60)
    raw.connect(("127.0.0.1", lab.server.https_port))
    with client_context(admin).wrap_socket(raw, server_hostname="127.0.0.1") as opened:
        yield opened


def ask(client: ssl.SSLSocket, path: str = "log") -> None:
    path = f"/api/v1/namespaces/default/pods/web/{path}"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


def answer(client: ssl.SSLSocket) -> tuple[int, bytes]:
    """The status and the beginning of the rest."""
    data = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while len(data) < 65536 and (piece := client.recv(65536)):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def rss(lab: Cluster) -> float:
    assert lab.server.process is not None
    text = Path(f"/proc/{lab.server.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def peak(lab: Cluster) -> float:
    assert lab.server.process is not None
    text = Path(f"/proc/{lab.server.process.pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


@contextlib.contextmanager
def costs_little(lab: Cluster) -> Iterator[None]:
    assert lab.server.process is not None
    Path(f"/proc/{lab.server.process.pid}/clear_refs").write_text("5")  # begin a new VmHWM
    before = rss(lab)
    yield
    print(f"the api-server grew by {peak(lab) - before:.1f} MiB at most")
    assert peak(lab) - before < 48


def test_an_error_of_400_mib_is_cut(lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket) -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n" % (400 * MIB)

    def attack(opened: ssl.SSLSocket) -> None:
        opened.sendall(head)
        kubelet.pour(opened, PIECE, 1600)

    kubelet.attack = attack
    with costs_little(lab):
        ask(client)
        status, body = answer(client)
    assert status == 500
    assert len(json.loads(body)["message"]) <= 4096
    assert kubelet.sent < 32 * MIB


def test_a_log_without_end_waits_for_its_reader(
    lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket
) -> None:
    """400 MiB, of which the client reads the beginning."""
    gone = threading.Event()

    def attack(opened: ssl.SSLSocket) -> None:
        opened.sendall(CHUNKED)
        try:
            kubelet.pour(opened, b"%x\r\n%b\r\n" % (len(PIECE), PIECE), 1600)
        finally:
            gone.set()

    kubelet.attack = attack
    with costs_little(lab):
        ask(client)
        assert client.recv(10).startswith(b"HTTP/1.1 ")
        last = -1
        while kubelet.sent != last:  # until nothing more is taken
            last = kubelet.sent
            gone.wait(1)
        assert not gone.is_set() and kubelet.sent < 64 * MIB
        client.close()
        assert gone.wait(60)  # the kubelet is let go with its reader


def test_nothing_is_unpacked(lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket) -> None:
    import gzip

    bomb = gzip.compress(b"\0" * (200 * MIB))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    kubelet.attack = lambda opened: opened.sendall(head + bomb)
    with costs_little(lab):
        ask(client)
        status, body = answer(client)
    assert status == 200 and len(body) <= 65536 + 16384
    assert b"Accept-Encoding: identity" in kubelet.asked[-1]


def test_heads_without_end_are_refused(
    lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket
) -> None:
    def attack(opened: ssl.SSLSocket) -> None:
        opened.sendall(b"HTTP/1.1 200 OK\r\n")
        kubelet.pour(opened, b"X: " + b"a" * 8000 + b"\r\n", 50_000)

    kubelet.attack = attack
    with costs_little(lab):
        ask(client)
        status, _ = answer(client)
    assert status == 500
    assert kubelet.sent < 16 * MIB


def test_it_sends_the_api_server_nowhere(
    lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket
) -> None:
    """A redirect would be followed with the api-server's own certificate."""
    kubelet.asked.clear()
    to = f"https://127.0.0.1:{kubelet.port}/elsewhere".encode()
    kubelet.attack = lambda opened: opened.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"
    )
    ask(client)
    status, _ = answer(client)
    assert status == 500
    assert len(kubelet.asked) == 1


def test_who_never_speaks_is_given_up(
    lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket
) -> None:
    """It accepts, and does not even begin TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        patch = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}}
        lab.kubectl("patch", "node", "w1", "--subresource=status", "-p", json.dumps(patch))
        try:
            ask(client)
            status, _ = answer(client)
            assert status == 500
        finally:
            patch["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = kubelet.port
            lab.kubectl("patch", "node", "w1", "--subresource=status", "-p", json.dumps(patch))


def test_tiny_chunks_do_not_hold_the_others_up(
    lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket
) -> None:
    """A chunk for each byte; meanwhile another client is answered again and again."""
    done = threading.Event()

    def attack(opened: ssl.SSLSocket) -> None:
        opened.sendall(CHUNKED)
        try:
            kubelet.pour(opened, b"1\r\nx\r\n" * 10_000, 30)
            opened.sendall(b"0\r\n\r\n")
        finally:
            done.set()

    kubelet.attack = attack
    answered = 0
    ask(client)
    reading = threading.Thread(target=lambda: _read_all(client))
    reading.start()
    while not done.is_set():
        assert lab.kubectl("get", "--raw", "/livez").stdout == "ok"
        answered += 1
    reading.join(60)
    assert answered


def _read_all(client: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        while client.recv(65536):
            pass


def test_stdin_waits_for_a_kubelet_that_does_not_read(
    lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket
) -> None:
    """The other direction: what a client pours into exec."""
    stop = threading.Event()
    upgraded = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )

    def attack(opened: ssl.SSLSocket) -> None:
        opened.sendall(upgraded)
        stop.wait(60)

    kubelet.attack = attack
    path = "/api/v1/namespaces/default/pods/web/exec?command=cat&stdin=true"
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
    )
    assert client.recv(12) == b"HTTP/1.1 101"
    poured = 0
    with costs_little(lab):
        client.settimeout(2)  # nothing is taken any more
        with contextlib.suppress(TimeoutError, ssl.SSLError):
            while poured < 400 * MIB:
                client.sendall(PIECE)
                poured += len(PIECE)
    stop.set()
    assert poured < 64 * MIB


def test_a_kubelet_that_is_well_is_still_heard(
    lab: Cluster, kubelet: Hostile, client: ssl.SSLSocket
) -> None:
    kubelet.attack = lambda opened: opened.sendall(CHUNKED + b"4\r\none\n\r\n0\r\n\r\n")
    wait_until(lambda: lab.kubectl("logs", "web", check=False).stdout == "one\n", 60, "a log")
