"""Real store processes and the stock etcdctl, over mTLS on loopback."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kube.component.tls import TlsFiles
from tests.component.pki_fixture import Pki

ROOT = Path(__file__).resolve().parents[2]


# Below the ports that the kernel gives to outgoing connections: between the moment that a port is
# found free and that a member listens there, one of those could take it.
_PORTS = range(15000, 32000)
# Of several test processes each takes every so manieth, so that none is found free by two.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_OWN_PORTS = _PORTS[_WORKER :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
# What must come has time to come: on a crowded machine everything takes ten times as long.
_PATIENCE_SECONDS = 60.0
# What a member says while an election goes on: nothing was done, and nothing was refused either.
_NOBODY_LED = ("etcdserver: leader changed", "etcdserver: no leader")
# The same of a request that would have been refused, of which it is no matter whether it was done.
_NO_ANSWER = (*_NOBODY_LED, "etcdserver: request timed out", "context deadline exceeded")


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            sock = held.enter_context(socket.socket())
            port = random.choice(_OWN_PORTS)
            with suppress(OSError):
                sock.bind(("127.0.0.1", port))
                found.append(port)
    return found


def wait_until(condition: Callable[[], Any], seconds: float, what: str | Callable[[], str]) -> Any:
    """Poll until `condition` is true; returns its value. A `what` to call tells of the end, not
    of the beginning (a log, say)."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds} s: {told}")
        time.sleep(0.05)


@dataclass
class StoreProcess:
    name: str
    directory: Path
    client_port: int
    peer_port: int
    metrics_port: int
    server: TlsFiles
    cluster: str = ""
    flags: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    env: dict[str, str] = field(default_factory=dict)
    plain_port: int = 0  # a client URL without TLS besides, for clients that know none
    program: tuple[str, ...] = (sys.executable, "-m", "master.kvstore")  # or stock etcd

    @property
    def client_url(self) -> str:
        return f"https://127.0.0.1:{self.client_port}"

    @property
    def listen_urls(self) -> str:
        plain = f",http://127.0.0.1:{self.plain_port}" if self.plain_port else ""
        return self.client_url + plain

    @property
    def peer_url(self) -> str:
        return f"https://127.0.0.1:{self.peer_port}"

    @property
    def data_dir(self) -> Path:
        return self.directory / self.name

    @property
    def log_file(self) -> Path:
        return self.directory / f"{self.name}.log"

    def start(self) -> None:
        tls = self.server
        command = [
            *self.program, "--name", self.name,
            "--data-dir", str(self.data_dir),
            "--listen-client-urls", self.listen_urls,
            "--advertise-client-urls", self.client_url,
            "--listen-peer-urls", self.peer_url,
            "--initial-advertise-peer-urls", self.peer_url,
            "--initial-cluster", self.cluster, "--initial-cluster-token", "test",
            "--cert-file", str(tls.cert), "--key-file", str(tls.key),
            "--trusted-ca-file", str(tls.ca), "--client-cert-auth",
            "--peer-cert-file", str(tls.cert), "--peer-key-file", str(tls.key),
            "--peer-trusted-ca-file", str(tls.ca), "--peer-client-cert-auth",
            "--listen-metrics-urls", f"https://127.0.0.1:{self.metrics_port}",
            *self.flags,
        ]  # fmt: skip
        with self.log_file.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **self.env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """As `kill -9`: nothing is flushed, nobody is told."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=_PATIENCE_SECONDS)

    def log(self) -> str:
        return self.log_file.read_text()


@dataclass
class StoreCluster:
    members: list[StoreProcess]
    client: TlsFiles
    extra_env: dict[str, str] = field(default_factory=dict)
    everybody: list[StoreProcess] = field(default_factory=list)  # also those who were removed

    def __post_init__(self) -> None:
        self.everybody = list(self.members)

    def etcdctl(
        self,
        *arguments: str,
        member: StoreProcess | None = None,
        stdin: str | None = None,
        check: bool = True,
        timeout: float = _PATIENCE_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Stock etcdctl against one member, or all of them. What must succeed (`check`) has more
        time than etcdctl's five seconds, unless it says otherwise, and is asked again after an
        election: on a crowded machine there may be one at any time."""
        members = [member] if member else self.members
        patience = [f"--command-timeout={timeout:.0f}s"] if check else []
        deadline = time.monotonic() + timeout
        while True:
            result = subprocess.run(
                self.etcdctl_command(*patience, *arguments, members=members),
                env={**os.environ, "ETCDCTL_API": "3"},
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
            if not check or not result.returncode:
                return result
            between = any(words in result.stderr for words in _NOBODY_LED)
            if not between or time.monotonic() > deadline:
                raise AssertionError(f"etcdctl {arguments}: {result.stderr}{result.stdout}")

    def refused(
        self, *arguments: str, member: StoreProcess | None = None, stdin: str | None = None
    ) -> str:
        """Why etcdctl failed: the answer of the store, not that there was none just then."""

        def told() -> str | None:
            result = self.etcdctl(*arguments, member=member, stdin=stdin, check=False)
            assert result.returncode != 0, result.stdout
            silent = any(words in result.stderr for words in _NO_ANSWER)
            return None if silent else result.stderr

        said: str = wait_until(told, _PATIENCE_SECONDS, f"etcdctl {arguments} to be refused")
        return said

    def etcdctl_command(
        self, *arguments: str, members: list[StoreProcess] | None = None
    ) -> list[str]:
        endpoints = ",".join(member.client_url for member in members or self.members)
        return [
            "etcdctl", f"--endpoints={endpoints}", f"--cacert={self.client.ca}",
            f"--cert={self.client.cert}", f"--key={self.client.key}", *arguments,
        ]  # fmt: skip

    def json(self, *arguments: str, member: StoreProcess | None = None) -> Any:
        return json.loads(self.etcdctl("-w", "json", *arguments, member=member).stdout)

    def add(self, name: str, *flags: str, learner: bool = False) -> StoreProcess:
        """`member add`, then start it as etcdctl says. The caller waits until it has caught up."""
        template = self.members[0]
        new = StoreProcess(name, template.directory, *free_ports(3), template.server)
        arguments = ["member", "add", name, f"--peer-urls={new.peer_url}"]
        out = self.etcdctl(*arguments, *(["--learner"] if learner else [])).stdout
        settings = dict(line.split("=", 1) for line in out.splitlines() if line.startswith("ETCD_"))
        new.cluster = settings["ETCD_INITIAL_CLUSTER"].strip('"')
        new.program = template.program
        new.flags = ("--initial-cluster-state", "existing", *flags)
        self.members.append(new)
        self.everybody.append(new)
        new.start()
        return new

    def wait_healthy(self, seconds: float = _PATIENCE_SECONDS) -> None:
        for member in self.members:
            wait_until(
                lambda m=member: (
                    self.etcdctl("endpoint", "health", member=m, check=False).returncode == 0
                ),
                seconds,
                lambda m=member: f"{m.name} healthy\n{m.log()[-2000:]}",
            )

    def wait_named(self) -> None:
        """Members tell their names and client URLs after they serve; each hears it by itself."""
        names = {member.name for member in self.members}

        def told(asked: StoreProcess) -> bool:
            listed = self.json("member", "list", member=asked)["members"]
            return names <= {one.get("name") for one in listed}

        for member in self.members:
            wait_until(lambda m=member: told(m), _PATIENCE_SECONDS, f"all names at {member.name}")

    def leader(self) -> StoreProcess:
        """The member that says it leads. One that was replaced may say so a while longer: the
        highest term counts."""

        def find() -> StoreProcess | None:
            leading: dict[int, StoreProcess] = {}
            for member in self.members:
                if member.process is None or member.process.poll() is not None:
                    continue
                result = self.etcdctl(
                    "-w", "json", "endpoint", "status", member=member, check=False
                )
                if result.returncode:
                    continue
                for status in json.loads(result.stdout or "[]"):
                    header = status["Status"]["header"]
                    if header["member_id"] == status["Status"].get("leader"):
                        leading[status["Status"]["raftTerm"]] = member
            return leading[max(leading)] if leading else None

        found: StoreProcess = wait_until(find, _PATIENCE_SECONDS, "a leader")
        return found

    def make_leader(self, heir: StoreProcess) -> None:
        """Move the lead to `heir`, again if an election came between."""
        [status] = self.json("endpoint", "status", member=heir)
        wanted = f"{status['Status']['header']['member_id']:x}"

        def moved() -> bool:
            leader = self.leader()
            if leader is not heir:
                self.etcdctl("move-leader", wanted, member=leader, check=False)
            return self.leader() is heir

        wait_until(moved, _PATIENCE_SECONDS, f"{heir.name} to lead")


@contextmanager
def store_cluster(
    directory: Path,
    pki: Pki,
    count: int,
    *flags: str,
    program: tuple[str, ...] = (),
    plain: bool = False,
) -> Iterator[StoreCluster]:
    """`count` members, started and healthy; killed at the end whatever happens."""
    ports = free_ports(4 * count)
    server = pki.issue("kvstore-server")
    members = [
        StoreProcess(f"m{i + 1}", directory, *ports[3 * i : 3 * i + 3], server)
        for i in range(count)
    ]
    cluster = ",".join(f"{member.name}={member.peer_url}" for member in members)
    running = StoreCluster(members, pki.issue("kvstore-client", organizations=("admins",)))
    try:
        for member in members:
            member.cluster, member.flags = cluster, flags
            member.program = program or member.program
            member.plain_port = ports.pop() if plain else 0
            member.start()
        running.wait_healthy()
        running.wait_named()
        yield running
    finally:
        for member in running.everybody:
            if member.process is not None and member.process.poll() is None:
                member.process.kill()
                member.process.wait()
