"""systemd's watchdog, as a process of ours sees it: through the socket of sd_notify(3)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.component.kvstore_harness import ROOT, free_ports, wait_until

COMPONENT = (sys.executable, "-m", "tests.component.watched_component")
# systemd says WATCHDOG_PID as well, which only the process itself can know here.
START = 'ulimit -c 0; WATCHDOG_PID="${WATCHDOG_PID:-$$}" exec "$@"'
PATIENCE_SECONDS = 60.0
INTERVAL = {"WATCHDOG_USEC": "400000"}
# More than twice the interval, of which less than half may lie between two feeds.
SILENCE_SECONDS = 1.0


@dataclass
class Manager:
    """The little of systemd that a service's process sees."""

    directory: Path
    service: subprocess.Popen[bytes] | None = None
    sock: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.listen()

    @property
    def address(self) -> Path:
        return self.directory / "notify"

    @property
    def log_file(self) -> Path:
        return self.directory / "service.log"

    def listen(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(self.address))

    def leave(self) -> None:
        self.sock.close()
        self.address.unlink(missing_ok=True)

    def start(self, command: tuple[str, ...], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as out:
            self.service = subprocess.Popen(
                ["sh", "-c", START, "sh", *command],
                cwd=ROOT,
                env=os.environ | {"NOTIFY_SOCKET": str(self.address)} | env,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return self.service

    def heard(self, seconds: float = PATIENCE_SECONDS) -> str:
        """The next message; "" when none comes."""
        self.sock.settimeout(seconds)
        try:
            return self.sock.recv(4096).decode()
        except TimeoutError:
            return ""

    def log(self) -> str:
        return self.log_file.read_text()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    try:
        yield made
    finally:
        made.leave()
        if made.service is not None:
            made.service.kill()
            made.service.wait()


def store(directory: Path) -> tuple[str, ...]:
    clients, peers = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    return (
        sys.executable, "-m", "master.kvstore", "--name=m1", f"--data-dir={directory}/m1",
        f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=m1={peers}",
    )  # fmt: skip


@pytest.mark.parametrize("command", [lambda _: COMPONENT, store], ids=["component", "kvstore"])
def test_a_process_that_serves_feeds_the_watchdog_until_it_is_told_to_stop(
    command: Callable[[Path], tuple[str, ...]], manager: Manager, tmp_path: Path
) -> None:
    service = manager.start(command(tmp_path), INTERVAL)
    assert manager.heard().startswith("READY=1"), manager.log()
    for _ in range(5):
        assert manager.heard() == "WATCHDOG=1", manager.log()
    service.terminate()
    assert service.wait(PATIENCE_SECONDS) == 0


def test_a_loop_that_spins_feeds_no_more_and_is_named_when_systemd_aborts_it(
    manager: Manager,
) -> None:
    service = manager.start(COMPONENT, INTERVAL)
    assert manager.heard().startswith("READY=1"), manager.log()
    assert manager.heard() == "WATCHDOG=1"
    service.send_signal(signal.SIGUSR1)
    wait_until(lambda: not manager.heard(SILENCE_SECONDS), PATIENCE_SECONDS, "silence")
    assert service.poll() is None
    assert "spin_for_ever" not in manager.log()
    service.send_signal(signal.SIGABRT)
    assert service.wait(PATIENCE_SECONDS) == -signal.SIGABRT
    assert "in spin_for_ever" in manager.log()


def test_feeding_goes_on_when_systemd_was_away_for_a_moment(manager: Manager) -> None:
    manager.start(COMPONENT, INTERVAL)
    assert manager.heard().startswith("READY=1"), manager.log()
    manager.leave()
    wait_until(lambda: "watchdog not reached" in manager.log(), PATIENCE_SECONDS, "a warning")
    manager.listen()
    assert manager.heard() == "WATCHDOG=1", manager.log()


@pytest.mark.parametrize("env", [INTERVAL | {"WATCHDOG_PID": "1"}, {}], ids=["pid", "none"])
def test_who_is_not_watched_feeds_nobody(env: dict[str, str], manager: Manager) -> None:
    service = manager.start(COMPONENT, env)
    assert manager.heard().startswith("READY=1"), manager.log()
    assert manager.heard(SILENCE_SECONDS) == ""
    service.terminate()
    assert service.wait(PATIENCE_SECONDS) == 0


def test_children_inherit_nothing_of_it(manager: Manager) -> None:
    manager.start(COMPONENT, INTERVAL | {"MARK": "of the test"})
    assert manager.heard().startswith("READY=1"), manager.log()
    said = manager.log()
    assert "MARK=of the test" in said
    assert "NOTIFY_SOCKET=" not in said
    assert "WATCHDOG_" not in said
