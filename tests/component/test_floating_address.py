"""The masters' floating address: three real keepalived on a bridge, and the check beside them."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from provision.identities import allocate
from provision.labfile import parse_lab
from provision.payload import keepalived
from provision.payload.keepalived import ANSWER, CONF, keepalived_files
from tests.component.kvstore_harness import free_ports
from tests.component.pki_fixture import Pki

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("keepalived") is None, reason="needs root and keepalived"
)
RECORD = allocate(
    parse_lab(
        "apiVersion: muster/v1\nkind: Lab\n"
        "spec: {masters: 3, workers: 0, network: {subnet: 10.211.77.0/24}}"
    ),
    {},
)
NAMES = [machine.name for machine in RECORD.masters]


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Masters:
    """A network namespace and a keepalived each, with the configuration that masters get."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        own = self.directory / name
        own.mkdir(exist_ok=True)
        machine = next(m for m in RECORD.masters if m.name == name)
        files = {file.path: file.content.decode() for file in keepalived_files(RECORD, machine)}
        text = files[CONF].replace("@INTERFACE@", "eth0").replace(ANSWER, str(own / "answer"))
        (own / "conf").write_text(text)
        self.processes[name] = subprocess.Popen(
            [
                "ip", "netns", "exec", f"t-vip-{name}", "keepalived", "--dont-fork", "--vrrp",
                f"--use-file={own / 'conf'}", f"--pid={own / 'pid'}", f"--vrrp_pid={own / 'vrrp'}",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=60)

    def answers(self, name: str, value: int) -> None:
        """As the check writes it: a new file in the old one's place."""
        place = self.directory / name / "answer"
        place.with_suffix(".new").write_text(f"{value}\n")
        place.with_suffix(".new").replace(place)

    def holders(self) -> list[str]:
        return [n for n in NAMES if f" {RECORD.vip}/" in ip("-n", f"t-vip-{n}", "-4", "addr")]

    def settled(self) -> str:
        """Who holds the address once one does, and goes on holding it for ten adverts."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            seen = []
            for _ in range(20):
                seen.append(self.holders())
                time.sleep(0.1)
            if len(seen[0]) == 1 and all(each == seen[0] for each in seen):
                return seen[0][0]
        raise AssertionError(f"nobody holds the address for two seconds: {seen}")


@pytest.fixture
def masters(tmp_path: Path) -> Iterator[Masters]:
    found = Masters(tmp_path)
    with contextlib.ExitStack() as stack:
        ip("link", "add", "t-vip", "type", "bridge")
        stack.callback(ip, "link", "del", "t-vip")
        ip("link", "set", "t-vip", "up")
        for machine in RECORD.masters:
            space = f"t-vip-{machine.name}"
            ip("netns", "add", space)
            stack.callback(ip, "netns", "del", space)
            ip("link", "add", space, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", space, "master", "t-vip", "up")
            ip("-n", space, "addr", "add", f"{machine.address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
        stack.callback(lambda: [found.stop(name) for name in list(found.processes)])
        for name in NAMES:
            found.start(name)
        yield found


def test_the_address_follows_who_answers_and_is_always_held(masters: Masters) -> None:
    masters.settled()  # before any api-server has answered
    for name in NAMES:
        masters.answers(name, 0)
    first = masters.settled()
    masters.answers(first, 1)
    until(lambda: masters.holders() not in ([], [first]), "it stays where nobody answers")
    second = masters.settled()
    assert second != first
    masters.answers(first, 0)
    assert masters.settled() == second  # who comes back does not take it
    for name in NAMES:
        masters.answers(name, 1)
    masters.settled()  # nobody answers in time: it is held still
    for name in NAMES:
        masters.answers(name, 0)
    holder = masters.settled()
    masters.stop(holder)
    until(lambda: len(masters.holders()) == 1 and masters.holders() != [holder], "it did not move")
    third = masters.settled()
    masters.start(holder)
    masters.answers(holder, 0)
    assert masters.settled() == third


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status = 200
    asked = connections = 0

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


def test_the_check_tells_on_one_connection_whether_the_api_server_is_ready(tmp_path: Path) -> None:
    pki = Pki.create(tmp_path)
    server_files = pki.issue("apiserver", addresses=("127.0.0.1",))
    pki.issue("apiserver-kubelet-client")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(server_files.cert), str(server_files.key))

    class Handler(_Handler): ...

    port = free_ports(1)[0]
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    answer = tmp_path / "answer"
    script = Path(keepalived.__file__).with_name("check_apiserver.py")
    check = subprocess.Popen([sys.executable, "-I", "-S", script, answer, tmp_path, str(port)])

    def says(value: str) -> Callable[[], bool]:
        return lambda: answer.exists() and answer.read_text() == value

    try:
        until(says("0\n"), "it answers, and the file does not say so")
        until(lambda: Handler.asked >= 3, "it does not ask again")
        assert Handler.connections == 1
        Handler.status = 500
        until(says("1\n"), "it is not ready, and the file does not say so")
        Handler.status = 200
        until(says("0\n"), "it is ready again, and the file does not say so")
    finally:
        check.terminate()
        check.wait(timeout=60)
        server.shutdown()
        server.server_close()
