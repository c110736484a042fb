"""The lab's Prometheus: a process of this host that outlives the command which starts it.

It is on the host, because it must go on watching while a drill powers any machine off, because the
monitoring key never leaves the host, and because machines then need no memory for it. What runs is
found by looking (its command line names the lab's directory): no note of it can be wrong.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from provision.state import LabDir

PROGRAM = "prometheus"
PACKAGE = "prometheus"
HOST, FIRST_PORT, PORTS = "127.0.0.1", 9090, 200
RETENTION_TIME, RETENTION_SIZE = "2d", "512MB"
# Go's garbage collector: begins when half as much again is in use as was left the last time
# (GOGC), and then keeps to the limit. A lower limit costs a large lab its processor.
LIMITS = {"GOGC": "50", "GOMEMLIMIT": "256MiB", "GOMAXPROCS": "1"}
STOP_SECONDS = 10.0
LOOKS, LOOK_SECONDS = 3, 0.02


@dataclass(frozen=True, slots=True)
class Running:
    pid: int
    address: str  # host:port

    @property
    def url(self) -> str:
        return f"http://{self.address}"


def installed() -> bool:
    return shutil.which(PROGRAM) is not None


def find(directory: LabDir) -> Running | None:
    """The lab's Prometheus, if it runs."""
    config = f"--config.file={directory.prometheus}"
    for pid, words in _processes():
        if config in words:
            listens = next((w for w in words if w.startswith("--web.listen-address=")), "")
            return Running(pid, listens.partition("=")[2])
    return None


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().decode().split("\0")


def ensure(directory: LabDir) -> tuple[Running, bool]:
    """Start it where it does not run, else let it read its configuration anew. Whether it was
    started comes second. Nobody waits until it serves."""
    running = find(directory)
    if running is not None:
        os.kill(running.pid, signal.SIGHUP)
        return running, False
    directory.series.mkdir(mode=0o700, exist_ok=True)
    address = f"{HOST}:{free_port(_wanted_port(directory))}"
    (directory.series / "address").write_text(address)
    with (directory.series / "log").open("wb") as log:
        process = subprocess.Popen(
            [*_confined(), *command(directory, address)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | LIMITS,
            start_new_session=True,
            cwd="/",
        )
    # It is to outlive us: nobody shall warn that it still runs.
    process.returncode = 0
    return Running(process.pid, address), True


def command(directory: LabDir, address: str) -> list[str]:
    return [
        PROGRAM,
        f"--config.file={directory.prometheus}",
        f"--storage.tsdb.path={directory.series / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION_TIME}",
        f"--storage.tsdb.retention.size={RETENTION_SIZE}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}",
        # Pages of other origins, in the browser of whoever runs the lab, shall not read it.
        f"--web.cors.origin=http://{address}",
        "--query.max-concurrency=4",
        "--query.timeout=30s",
        "--query.max-samples=5000000",
        "--log.level=warn",
    ]


def _confined() -> list[str]:
    """It needs no right but to read the lab's files, and works behind everything else."""
    nice = ["nice", "-n", "10"]
    if os.geteuid() != 0:
        return nice
    return [*nice, "setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]


def _looked_for(directory: LabDir) -> Running | None:
    """As `find`, and past the instant in which a process becomes another program (nice, setpriv,
    Prometheus) and has no command line."""
    for _ in range(LOOKS):
        if (running := find(directory)) is not None:
            return running
        time.sleep(LOOK_SECONDS)
    return None


def stop(directory: LabDir, *, kill: bool = False) -> bool:
    """End it and wait until it has ended. False if it did not run."""
    running = _looked_for(directory)
    if running is None:
        return False
    with _pidfd(running.pid) as handle:
        # The number may have come to mean another process before the handle was opened.
        if handle is None or _looked_for(directory) != running:
            return True
        for number in (signal.SIGKILL,) if kill else (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], STOP_SECONDS)[0]:
                break
    return True


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _wanted_port(directory: LabDir) -> int:
    """The one that it had before, so that bookmarks and data sources stay right."""
    with contextlib.suppress(OSError, ValueError):
        text = (directory.series / "address").read_text()
        return int(text.rpartition(":")[2])
    return FIRST_PORT


def free_port(wanted: int, is_free: Callable[[int], bool] | None = None) -> int:
    free = is_free or _is_free
    for port in chain([wanted], range(FIRST_PORT, FIRST_PORT + PORTS)):
        if free(port):
            return port
    return 0


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True


def ready(running: Running, timeout: float = 2) -> bool:
    """Whether it answers queries."""
    connection = http.client.HTTPConnection(running.address, timeout=timeout)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
