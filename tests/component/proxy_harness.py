"""A node with three pods and a client, in network namespaces of their own, and a real kube-proxy
process on it that follows an in-test api-server."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import datetime
import http.client
import json
import os
import re
import secrets
import selectors
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kube.client.channel import SERVER_KEEPALIVE
from kube.rpc.listen import Listen
from kube.rpc.metrics import PrometheusObserver
from kube.rpc.names import DEFAULT
from kube.rpc.service import methods_of
from kube.rpc.transports import rpc_server
from kube.stubs.resources import resources_pb2 as pb
from tests.component.pki_fixture import Pki

REPO = Path(__file__).resolve().parents[2]
NODE_IP, CLIENT_IP = "10.200.0.21", "10.200.0.99"
PODS = {"pod1": "10.244.1.11", "pod2": "10.244.1.12", "pod3": "10.244.1.13"}
POD_PORT = 8080
NFTABLES = "nftables"
LIST_TABLE = "nft -s -y list table ip kube-proxy"
CLONE_NEWNET = 0x40000000
T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


async def until(what: str, check: Callable[[], T], seconds: float = 60.0) -> T:
    """Poll until `check` gives something true, in a thread; a bounded wait for a condition."""
    async with asyncio.timeout(seconds):
        while True:
            result = await asyncio.to_thread(check)
            if result:
                return result
            await asyncio.sleep(0.02)
    raise AssertionError(what)


@dataclass(frozen=True)
class Netns:
    name: str

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str, text: str = "") -> str:
        done = subprocess.run(self.command(*words), input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread of this namespace; the sockets that it makes stay there."""
        future: Future[T] = Future()

        def body() -> None:
            try:
                with Path(f"/run/netns/{self.name}").open() as handle:
                    if _libc.setns(handle.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        return future.result()


def ask(netns: Netns, host: str, port: int, seconds: float = 30.0) -> tuple[str, str]:
    """One TCP connection: (the pod that answered, the address that it saw)."""

    def work() -> tuple[str, str]:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            pod, _, peer = connection.makefile().readline().strip().partition(" ")
            return pod, peer

    return netns.call(work)


def ask_udp(netns: Netns, host: str, port: int, source_port: int = 0, seconds: float = 30.0) -> str:
    """One datagram: the pod that answered."""

    def work() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(seconds)
            sock.bind(("", source_port))
            sock.connect((host, port))
            sock.send(b"?")
            return sock.recv(100).decode().split()[0]

    return netns.call(work)


class PodServer:
    """Tells its name and who asks, over TCP and UDP; TCP lines are answered with the name."""

    def __init__(self, netns: Netns, name: str) -> None:
        self._name = name
        self._tcp = netns.call(lambda: socket.create_server(("", POD_PORT)))
        self._udp = netns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        netns.call(lambda: self._udp.bind(("", POD_PORT)))
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock, handler in (
            (self._tcp, self._accept),
            (self._udp, self._datagram),
            (self._woken, None),
        ):
            self._selector.register(sock, selectors.EVENT_READ, handler)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(OSError):
                    key.data(key.fileobj)

    def _accept(self, listener: Any) -> None:
        connection, peer = listener.accept()
        connection.sendall(f"{self._name} {peer[0]}\n".encode())
        self._selector.register(connection, selectors.EVENT_READ, self._line)

    def _line(self, connection: Any) -> None:
        try:
            if connection.recv(1000):
                connection.sendall(f"{self._name}\n".encode())
                return
        except OSError:
            pass
        self._selector.unregister(connection)
        connection.close()

    def _datagram(self, sock: Any) -> None:
        _, peer = sock.recvfrom(1000)
        sock.sendto(f"{self._name} {peer[0]}".encode(), peer)

    def close(self) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()
        self._wake.close()


@dataclass
class World:
    """The namespaces: `node`, an outside `client`, and the pods."""

    node: Netns
    client: Netns
    pods: dict[str, Netns]


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Pods are point-to-point /32s, so that all their traffic passes the node's rules."""
    prefix = f"mup-{secrets.token_hex(3)}"
    names = {name: Netns(f"{prefix}-{name}") for name in ("node", "client", *PODS)}
    made = World(names["node"], names["client"], {name: names[name] for name in PODS})
    servers: list[PodServer] = []
    try:
        for netns in names.values():
            _ip(f"netns add {netns.name}")
            _ip(f"-n {netns.name} link set lo up")
        _wire_client(made)
        for name, address in PODS.items():
            _wire_pod(made, name, address)
            servers.append(PodServer(made.pods[name], name))
        made.node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield made
    finally:
        for server in servers:
            server.close()
        for netns in names.values():
            subprocess.run(["ip", "netns", "del", netns.name], check=False)


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _wire_client(made: World) -> None:
    node, client = made.node.name, made.client.name
    _ip(f"-n {node} link add eth0 type veth peer name eth0 netns {client}")
    for name, address, other in ((node, NODE_IP, CLIENT_IP), (client, CLIENT_IP, NODE_IP)):
        _ip(f"-n {name} addr add {address}/24 dev eth0")
        _ip(f"-n {name} link set eth0 up")
        _ip(f"-n {name} route add default via {other}")


def _wire_pod(made: World, name: str, address: str) -> None:
    node, pod = made.node.name, made.pods[name].name
    _ip(f"-n {node} link add v-{name} type veth peer name eth0 netns {pod}")
    _ip(f"-n {node} link set v-{name} up")
    made.node.run("sysctl", "-qw", f"net.ipv4.conf.v-{name}.proxy_arp=1")
    _ip(f"-n {node} route add {address}/32 dev v-{name} scope link src {NODE_IP}")
    _ip(f"-n {pod} addr add {address}/32 dev eth0")
    _ip(f"-n {pod} link set eth0 up")
    _ip(f"-n {pod} route add 169.254.1.1 dev eth0 scope link")
    _ip(f"-n {pod} route add default via 169.254.1.1")


# -- the api-server


class Api:
    """List and Watch of whatever the test puts into it."""

    def __init__(self) -> None:
        self._events: list[tuple[int, str, str, dict[str, Any]]] = []
        self._changed = asyncio.Condition()

    async def put(self, plural: str, document: dict[str, Any]) -> None:
        known = self._state(plural).get(_key(document))
        await self._add(plural, "MODIFIED" if known else "ADDED", document)

    async def delete(self, plural: str, document: dict[str, Any]) -> None:
        await self._add(plural, "DELETED", document)

    async def _add(self, plural: str, kind: str, document: dict[str, Any]) -> None:
        version = len(self._events) + 2
        meta = document["metadata"] | {"resourceVersion": str(version)}
        async with self._changed:
            self._events.append((version, plural, kind, document | {"metadata": meta}))
            self._changed.notify_all()

    def _state(self, plural: str) -> dict[str, dict[str, Any]]:
        state: dict[str, dict[str, Any]] = {}
        for _, of, kind, document in self._events:
            if of == plural:
                state.pop(_key(document), None)
                if kind != "DELETED":
                    state[_key(document)] = document
        return state

    async def list(self, request: Any, context: Any) -> pb.ListResponse:
        items = [msgspec.json.encode(d) for d in self._state(request.ref.resource).values()]
        return pb.ListResponse(items=items, resource_version=str(len(self._events) + 1))

    async def create(self, request: Any, context: Any) -> pb.Object:
        """Reviews of who may read the metrics: everybody with a certificate may."""
        review = msgspec.json.decode(request.json)
        return pb.Object(json=msgspec.json.encode(review | {"status": {"allowed": True}}))

    async def watch(self, request: Any, context: Any) -> AsyncIterator[pb.WatchEvent]:
        sent = int(request.resource_version) - 1
        while True:
            async with self._changed:
                while len(self._events) <= sent:
                    await self._changed.wait()
                news, sent = self._events[sent:], len(self._events)
            for _, plural, kind, document in news:
                if plural == request.ref.resource:
                    yield pb.WatchEvent(type=kind, object=msgspec.json.encode(document))


def _key(document: dict[str, Any]) -> str:
    return f"{document['metadata'].get('namespace', '')}/{document['metadata']['name']}"


@contextlib.asynccontextmanager
async def api_server(directory: Path) -> AsyncIterator[tuple[Api, str]]:
    """Served on a unix socket: those are seen from every network namespace."""
    api, address = Api(), f"unix:{directory / 'api.sock'}"
    methods = methods_of(pb.DESCRIPTOR.services_by_name["Resources"], api)
    listen, observer = [Listen(address, 0)], PrometheusObserver()
    async with rpc_server(DEFAULT, methods, listen, observer, keepalive=SERVER_KEEPALIVE):
        yield api, address


# -- objects


def node(name: str, **metadata: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, **metadata},
        "status": {"addresses": [{"type": "InternalIP", "address": NODE_IP}]},
    }


def service(name: str, cluster_ip: str, *, protocol: str = "TCP", **spec: Any) -> dict[str, Any]:
    port = {"name": "web", "port": 80, "protocol": protocol, "nodePort": spec.pop("nodePort", 0)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "demo", "name": name},
        "spec": {"clusterIP": cluster_ip, "ports": [port], **spec},
    }


def endpoint_slice(
    name: str, *pods: str, protocol: str = "TCP", node: str = "w1", **conditions: bool
) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat()
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "demo",
            "name": f"{name}-1",
            "labels": {"kubernetes.io/service-name": name},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": now},
        },
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": POD_PORT, "protocol": protocol}],
        "endpoints": [
            {"addresses": [PODS[pod]], "nodeName": node, "conditions": conditions} for pod in pods
        ],
    }


# -- the process


SHIM = """#!/bin/sh
# Stands before the real tool: notes what is restored, and fails while told to.
cat > {directory}/last
if [ -e {directory}/fail ]; then echo "line 2 failed: told to" >&2; exit 1; fi
cat {directory}/last >> {directory}/restored
exec {tool} "$@" < {directory}/last
"""


@dataclass
class Lab:
    """A running kube-proxy on the node of a world."""

    world: World
    api: Api
    backend: str
    address: str
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    # -- the process

    def start(self) -> None:
        environment = os.environ | {"PATH": f"{self.directory}:{os.environ['PATH']}"}
        self.process = subprocess.Popen(
            self.world.node.command(*self._argv()), cwd=REPO, env=environment
        )

    def _argv(self) -> list[str]:
        tls = self.directory
        return [
            sys.executable, "-m", "worker.proxy", "--api-servers", self.address,
            "--hostname-override", "w1", "--cluster-cidr", "10.244.0.0/16",
            *self._mode(), "--iptables-sync-period", "1",
            "--tls-cert-file", str(tls / "tls.crt"), "--tls-private-key-file",
            str(tls / "tls.key"), "--client-ca-file", str(tls / "ca.crt"),
        ]  # fmt: skip

    def _mode(self) -> list[str]:
        if self.backend == NFTABLES:
            return ["--proxy-mode", NFTABLES]
        return ["--iptables-backend", self.backend]

    def stop(self) -> int:
        """SIGTERM, as systemd does it; the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None

    def cleanup(self) -> None:
        self.world.node.run(
            "env", "-C", str(REPO), sys.executable, "-m", "worker.proxy", "--cleanup"
        )

    # -- what it does

    def rules(self, backend: str = "") -> str:
        backend = backend or self.backend
        if backend == NFTABLES:
            return self.world.node.run("sh", "-c", f"{LIST_TABLE} 2>&1; true")
        return self.world.node.run(f"iptables-{backend}-save")

    def serves(self, name: str) -> bool:
        """Whether a service's rules lead to its endpoints."""
        if self.backend == NFTABLES:
            return f"-demo/{name}/" in self.rules()
        return f'"demo/{name}:web cluster IP"' in self.rules()

    def refuses(self, name: str) -> bool:
        """Whether its rules say that it has no endpoints, or none here."""
        if self.backend == NFTABLES:
            return f'comment "demo/{name}:web"' in self.rules()
        return f'"demo/{name}:web has no' in self.rules()

    def leads_to(self, name: str, pod: str) -> bool:
        if self.backend == NFTABLES:
            pattern = rf"demo/{name}/\w+/web__{PODS[pod]}/{POD_PORT}"
            return re.search(pattern, self.rules()) is not None
        return f'"demo/{name}:web -> {PODS[pod]}:{POD_PORT}"' in self.rules()

    def jumps(self) -> bool:
        """Whether packets come to the rules at all."""
        if self.backend == NFTABLES:
            return "hook prerouting" in self.rules()
        return "-A PREROUTING -m comment" in self.rules()

    def flush(self) -> None:
        """What a careless administrator does."""
        if self.backend == NFTABLES:
            self.world.node.run("nft", "flush", "ruleset")
            return
        for table in ("nat", "filter"):
            self.world.node.run(f"iptables-{self.backend}", "-t", table, "-F")
            self.world.node.run(f"iptables-{self.backend}", "-t", table, "-X")

    @property
    def restored(self) -> str:
        path = self.directory / "restored"
        return path.read_text() if path.exists() else ""

    def get(self, path: str, port: int = 10256) -> tuple[int, str]:
        """Plain HTTP on the node."""
        return self.world.node.call(
            lambda: _read(http.client.HTTPConnection("127.0.0.1", port, timeout=60), path)
        )

    def metrics(self) -> dict[str, float]:
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        context.load_cert_chain(self.directory / "tls.crt", self.directory / "tls.key")
        _, text = self.world.node.call(
            lambda: _read(
                http.client.HTTPSConnection("127.0.0.1", 10249, timeout=60, context=context),
                "/metrics",
            )
        )
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    # -- services

    async def publish(self, one: dict[str, Any], slice_: dict[str, Any] | None = None) -> None:
        """Put a service and its endpoints, and wait for the rules that name them."""
        name = one["metadata"]["name"]
        if slice_ is not None:
            await self.api.put("endpointslices", slice_)
        await self.api.put("services", one)
        ready = slice_ is not None and slice_["endpoints"]
        await until("rules", lambda: self.serves(name) if ready else self.refuses(name))

    async def set_endpoints(self, slice_: dict[str, Any], **appear: bool) -> None:
        """Put a slice and wait until the pods' addresses are (not) in the rules."""
        await self.api.put("endpointslices", slice_)
        name = slice_["metadata"]["labels"]["kubernetes.io/service-name"]
        await until(
            "rules",
            lambda: all(self.leads_to(name, pod) == there for pod, there in appear.items()),
        )


def _read(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def proxy_lab(directory: Path, backend: str) -> AsyncIterator[Lab]:
    name = "nft" if backend == NFTABLES else f"iptables-{backend}-restore"
    tool = shutil.which(name)
    assert tool, f"{name} is not installed"
    shim = directory / name
    shim.write_text(SHIM.format(directory=directory, tool=tool))
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    Pki.create(directory).issue("tls")
    with world() as made:
        async with api_server(directory) as (api, address):
            lab = Lab(made, api, backend, address, directory)
            try:
                lab.start()
                await api.put("nodes", node("w1"))
                yield lab
            finally:
                lab.stop()


def healthz(lab: Lab) -> tuple[int, dict[str, Any]]:
    status, text = lab.get("/healthz")
    return status, json.loads(text)
