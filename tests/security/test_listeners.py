"""Every listener of every component under floods, and its TLS.

One table for all: `listener_world.PORTS`.
"""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.component.runtime_harness import wait_until
from tests.security.listener_world import PORTS, RUNTIME_METRICS, Port, World, status, world
from tests.security.tlsprobe import accepts

pytestmark = pytest.mark.root

TLS_PORTS = tuple(port for port in PORTS if port.tls)
PAGES = tuple(port for port in PORTS if port.speaks in ("http", "both"))
# What a listener takes at most; a flood is more than that.
CAPS = {2379: 5000, 6444: 5000, 6443: 3000}
CAP, MORE = 500, 200


@pytest.fixture(scope="module")
def lab() -> Iterator[World]:
    with world() as made:
        yield made


@contextlib.contextmanager
def flooded(lab: World, port: Port, count: int) -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []

    def fill() -> socket.socket:
        for _ in range(count):
            one = socket.socket()
            one.settimeout(60)
            with contextlib.suppress(ConnectionError):  # a full queue may answer so
                one.connect((lab.host(port), port.number))
            opened.append(one)
        return opened[0]

    try:
        lab.inside(fill)
        yield opened
    finally:
        for one in opened:
            one.close()


def closed(sockets: Sequence[socket.socket]) -> int:
    """How many of them the other side has closed."""
    ended = 0
    for one in sockets:
        one.setblocking(False)
        try:
            ended += one.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            pass
        except OSError:
            ended += 1
    return ended


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def rss_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def friend(lab: World, port: Port) -> bool:
    """Whether somebody with a good certificate is answered."""
    who = lab.kubelet_client
    if port.speaks in ("http", "both"):
        return lab.http(port, who) == 200
    opened = lab.secure(port, who, alpn="h2")
    with contextlib.closing(opened):
        if port.speaks == "grpc":
            opened.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            return opened.recv(9)[3:4] == b"\4"  # its SETTINGS
        opened.settimeout(0.2)  # a peer: the handshake stands, and it waits for our hello
        with contextlib.suppress(TimeoutError):
            return opened.recv(1) != b""
        return True


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.id)
def test_a_flood_of_connections_locks_nobody_out(lab: World, port: Port) -> None:
    """Plain TCP, more than there are places, all of them held: the friend is answered, and the
    component has cut some rather than take them all."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    before, cap = descriptors(pid := lab.pid(port.component)), CAPS.get(port.number, CAP)
    with flooded(lab, port, cap + MORE) as held:
        for _ in range(3):
            assert friend(lab, port)
        assert descriptors(pid) - before < cap + MORE // 4
        wait_until("some were cut", lambda: closed(held) > 0, 60)
    wait_until("their places are free", lambda: descriptors(pid) < before + 50, 60)
    assert friend(lab, port)


def test_a_flood_of_the_runtimes_streaming_port(lab: World) -> None:
    """Its number is known to the kubelet alone, but every process of the node can look it up."""
    (number,) = lab.listening("runtime") - {RUNTIME_METRICS}
    port = Port("runtime", number, tls=False, anonymous=True, page="/exec/no-such-token")
    before = descriptors(pid := lab.pid("runtime"))
    with flooded(lab, port, CAP + MORE) as held:
        for _ in range(3):
            assert lab.http(port, None) == 404
        assert descriptors(pid) - before < CAP + MORE // 4
        wait_until("some were cut", lambda: closed(held) > 0, 60)


def test_a_flooded_kubelet_goes_on_renewing_its_lease(lab: World) -> None:
    port = next(port for port in PORTS if port.number == 10250)

    def renewed() -> str:
        lease = lab.kubectl(
            "get", "lease", "-n", "kube-node-lease", "t1", "-o", "jsonpath={.spec.renewTime}",
            check=False,
        )  # fmt: skip
        return lease.stdout

    wait_until("a lease", renewed, 60)
    with flooded(lab, port, 1100):
        seen: set[str] = set()

        def twice() -> bool:
            seen.add(renewed())
            return len(seen) > 2

        wait_until("renewals", twice, 60)
        assert lab.http(port, lab.kubelet_client) == 200


@pytest.mark.parametrize("port", PAGES, ids=lambda port: port.id)
def test_out_of_descriptors_a_component_goes_on_and_answers_again(lab: World, port: Port) -> None:
    """EMFILE: the limit is taken down to just above what is open."""
    pid = lab.pid(port.component)
    limits = Path(f"/proc/{pid}/limits").read_text().split("Max open files")[1].split()[:2]
    few = descriptors(pid) + 40
    try:
        _limit(pid, f"{few}:{limits[1]}")
        with flooded(lab, port, 300):
            wait_until("all are taken", lambda: descriptors(pid) >= few, 60)
    finally:
        _limit(pid, ":".join(limits))
    wait_until("it answers", lambda: lab.http(port, lab.kubelet_client) == 200, 60)
    assert lab.pid(port.component) == pid and Path(f"/proc/{pid}").exists()


def _limit(pid: int, limits: str) -> None:
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={limits}"], check=True, timeout=60)


def test_who_says_nothing_or_half_of_it_is_given_up(lab: World) -> None:
    """All ports at once, silent before TLS, after it, and in the middle of a request's head."""
    who = lab.kubelet_client
    opened: dict[str, socket.socket] = {}
    for port in PORTS:
        opened[f"{port.id} silent"] = lab.connect(port)
        if port.tls and port.speaks != "peers":
            opened[f"{port.id} secured"] = lab.secure(port, who, alpn=port.alpn)
    for port in PAGES:
        half = lab.secure(port, who, alpn="http/1.1") if port.tls else lab.connect(port)
        half.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        opened[f"{port.id} half a head"] = half
    try:
        left = _until_closed(opened, 60)
    finally:
        for one in opened.values():
            one.close()
    assert not left


def _until_closed(opened: dict[str, socket.socket], seconds: float) -> set[str]:
    """The names of those that are still open then. What they say before they end is read."""
    left, deadline = set(opened), time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for name, one in opened.items():
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ, name)
        while left and (rest := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(rest):
                if _ended(opened[key.data]):
                    selector.unregister(key.fileobj)
                    left.discard(key.data)
    return left


def _ended(one: socket.socket) -> bool:
    try:
        return one.recv(65536) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


# -- the api-server's HTTPS port

API = next(port for port in PORTS if port.number == 6443)


def test_half_sent_requests_cost_little_and_lock_nobody_out(lab: World) -> None:
    """1,000 anonymous ones; each took a quarter of a MiB."""
    pid = lab.pid("apiserver")
    before = rss_mib(pid)
    held = []
    try:
        for _ in range(1000):
            held.append(lab.secure(API, None))
            held[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
        grown = rss_mib(pid) - before
        print(f"1,000 half-sent requests: {grown:.0f} MiB")
        assert grown < 100
        assert lab.http(API, lab.kubelet_client) == 200
        assert lab.http(API, None) == 200
    finally:
        for one in held:
            one.close()


def test_long_selectors_are_accepted_up_to_gos_limit(lab: World) -> None:
    values = ",".join(f"v{n}" for n in range(15_000))
    query = f"/api/v1/namespaces/default/pods?labelSelector=a+in+({values})"
    assert 90_000 < len(query) < 1 << 20
    assert lab.http(API, lab.kubelet_client, query) == 200
    assert lab.http(API, lab.kubelet_client, "/?" + "a" * (1_300_000)) == 431
    # It is read before anybody knows who asks: half a million parameters took half a second.
    assert lab.http(API, None, "/healthz?" + "a&" * 400_000) == 400


def test_long_heads_that_never_end_are_bounded_together(lab: World) -> None:
    """200 anonymous requests of which each has sent 900 KiB and no end."""
    pid = lab.pid("apiserver")
    before = rss_mib(pid)
    held, part = [], b"a" * 900_000
    try:
        for _ in range(200):
            held.append(lab.secure(API, None))
            with contextlib.suppress(OSError):
                held[-1].sendall(b"GET /?" + part)
        grown = rss_mib(pid) - before
        print(f"200 heads of 900 KiB: {grown:.0f} MiB")
        assert grown < 120
        assert lab.http(API, lab.kubelet_client) == 200
        assert lab.http(API, None) == 200
    finally:
        for one in held:
            one.close()


# -- TLS


@pytest.mark.parametrize("port", TLS_PORTS, ids=lambda port: port.id)
def test_tls_is_1_2_or_newer_with_authenticated_encryption_only(lab: World, port: Port) -> None:
    who, host, connect = lab.kubelet_client, lab.host(port), lambda: lab.connect(port)
    alpn = port.alpn
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert not accepts(connect, who, host, version, "ALL:@SECLEVEL=0", alpn)
    assert accepts(connect, who, host, ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM", alpn)
    assert accepts(connect, who, host, ssl.TLSVersion.TLSv1_3, "", alpn)
    cbc = "AES128-SHA:AES256-SHA:ECDHE+SHA1:ECDHE+SHA256:ECDHE+SHA384:!AESGCM:!CHACHA20:@SECLEVEL=0"
    assert not accepts(connect, who, host, ssl.TLSVersion.TLSv1_2, cbc, alpn)


@pytest.mark.parametrize("port", PORTS, ids=lambda port: port.id)
def test_who_is_let_in_without_a_certificate(lab: World, port: Port) -> None:
    if not port.tls:
        assert lab.http(port, None) == 200
    elif port.speaks in ("http", "both"):
        assert (lab.http(port, None) != 0) is port.anonymous
    else:
        assert not accepts(
            lambda: lab.connect(port), None, lab.host(port), ssl.TLSVersion.TLSv1_3, "",
            port.alpn, ca=lab.server_files.ca,
        )  # fmt: skip


def test_a_pipelining_client_is_answered_in_order(lab: World) -> None:
    """The bounds do not change what is allowed."""
    opened = lab.secure(API, lab.kubelet_client)
    with contextlib.closing(opened):
        opened.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        assert status(opened, "/readyz") == 200
