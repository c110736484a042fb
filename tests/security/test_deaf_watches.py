"""Watches that nobody reads: what they hold is bounded, they are cut, and who reads is not."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kube.component.tls import TlsFiles, client_context
from kube.stubs.resources import resources_pb2 as pb
from tests.component.apiserver_harness import Cluster, cluster
from tests.component.pki_fixture import Pki

WATCHES = 300
OBJECTS = 20
UPDATES = 400  # more than the window of recent events holds of them
LARGE = "x" * 250_000
PATH = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("kvstore", tmp_path_factory.mktemp("watches"), pki) as running:
        yield running


@pytest.fixture(scope="module")
def admin(lab: Cluster, pki: Pki) -> TlsFiles:
    return pki.issue("watching-admin", organizations=("kubeadm:cluster-admins",))


class Writer:
    def __init__(self, lab: Cluster, admin: TlsFiles) -> None:
        self._http = http.client.HTTPSConnection(
            "127.0.0.1", lab.server.https_port, context=client_context(admin), timeout=60
        )

    def ask(self, method: str, path: str, body: object, kind: str = "json") -> int:
        self._http.request(method, path, json.dumps(body), {"Content-Type": f"application/{kind}"})
        answer = self._http.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._http.close()

    def update(self, number: int) -> None:
        body = {"data": {"n": str(number), "x": LARGE}}
        path = f"{PATH}/w{number % OBJECTS}"
        assert self.ask("PATCH", path, body, "merge-patch+json") == 200


@pytest.fixture(scope="module")
def writer(lab: Cluster, admin: TlsFiles) -> Iterator[Writer]:
    made = Writer(lab, admin)
    for number in range(OBJECTS):
        body = {"metadata": {"name": f"w{number}"}, "data": {"x": LARGE}}
        assert made.ask("POST", PATH, body) == 201
    yield made
    made.close()


def rss(lab: Cluster) -> float:
    assert lab.server.process is not None
    text = Path(f"/proc/{lab.server.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def watch(lab: Cluster, admin: TlsFiles, context: ssl.SSLContext) -> ssl.SSLSocket:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(60)
    raw.connect(("127.0.0.1", lab.server.https_port))
    opened = context.wrap_socket(raw, server_hostname="127.0.0.1")
    opened.sendall(f"GET {PATH}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return opened


def test_deaf_watches_hold_little_and_are_cut(
    lab: Cluster, admin: TlsFiles, writer: Writer
) -> None:
    """Each has been sent 5 MiB to begin with, then every change, and reads none of it. Another
    one reads, and misses nothing."""
    before = rss(lab)
    deaf: list[ssl.SSLSocket] = []
    context = client_context(admin)
    reader = Reader(lab, admin)
    try:
        for _ in range(WATCHES):
            deaf.append(watch(lab, admin, context))
        reader.start()
        for number in range(UPDATES):
            writer.update(number)
        grown = rss(lab) - before
        print(f"{WATCHES} deaf watches, {UPDATES} events of 250 KB: {grown:.0f} MiB")
        assert grown < 220
        deadline = time.monotonic() + 60
        while open_ := [one for one in deaf if not _cut(one)]:
            assert time.monotonic() < deadline, f"{len(open_)} are still open"
            time.sleep(0.2)
        writer.update(9999)
        assert reader.saw("9999")
    finally:
        reader.close()
        for one in deaf:
            one.close()


def _cut(one: ssl.SSLSocket) -> bool:
    """Whether the server has ended it, without reading what it had sent before."""
    poller = select.poll()
    poller.register(one.fileno(), select.POLLRDHUP)
    return bool(poller.poll(0))


class Reader(threading.Thread):
    """A watch that is read."""

    def __init__(self, lab: Cluster, admin: TlsFiles) -> None:
        super().__init__()
        self._http = http.client.HTTPSConnection(
            "127.0.0.1", lab.server.https_port, context=client_context(admin), timeout=60
        )
        self._http.request("GET", f"{PATH}?watch=1")
        self._answer = self._http.getresponse()
        self._last = ""
        self._changed = threading.Condition()

    def run(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, AttributeError, ValueError):
            while line := self._answer.readline():
                with self._changed:
                    self._last = json.loads(line)["object"]["data"].get("n", "")
                    self._changed.notify_all()

    def saw(self, number: str) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._last == number, 60)

    def close(self) -> None:
        if self._http.sock is not None:
            self._http.sock.shutdown(socket.SHUT_RDWR)
        if self.is_alive():
            self.join(60)
        self._answer.close()
        self._http.close()


def test_a_deaf_watch_over_grpc_is_cut(lab: Cluster, admin: TlsFiles, writer: Writer) -> None:
    """The client answers pings, so its connection stands; only the call is broken off."""
    material = admin.material()
    credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.cert)
    before = rss(lab)
    # Left to itself, the client's library takes ever more in advance: on a fast machine all of it.
    options = [("grpc.http2.bdp_probe", 0)]
    with grpc.secure_channel(lab.server.grpc_address, credentials, options) as channel:
        call = channel.unary_stream(
            "/muster.resources.v1.Resources/Watch",
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchEvent.FromString,
        )
        ref = pb.Ref(version="v1", resource="configmaps", namespace="default")
        calls = [call(pb.WatchRequest(ref=ref), timeout=300) for _ in range(50)]
        for one in calls:
            assert one.initial_metadata() is not None
        for number in range(UPDATES):
            writer.update(number)
        grown = rss(lab) - before
        print(f"50 deaf watches over gRPC: {grown:.0f} MiB")
        assert grown < 200
        for one in calls:
            seen = 0
            with pytest.raises(grpc.RpcError) as broken:
                for _ in one:  # what its own library had taken before
                    seen += 1
            assert broken.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
            assert seen < UPDATES
