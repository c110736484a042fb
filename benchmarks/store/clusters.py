"""Three real members of either program on loopback, data directories on the same filesystem."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import grpc

from kube.component.tls import TlsFiles
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from provision.pki.authority import LeafRequest, issue, new_authority

ROOT = Path(__file__).resolve().parents[2]
MUSTER, ETCD = "muster", "etcd"
PROGRAMS = (MUSTER, ETCD)
_COMMANDS = {
    MUSTER: (sys.executable, "-m", "master.kvstore", "--rpc-transport", "nghttp2"),
    ETCD: ("etcd",),
}
# The same for both; all else, heartbeat (100 ms) and election timeout (1 s) included, is default.
_FLAGS = ("--quota-backend-bytes", str(8 << 30), "--initial-cluster-token", "bench")
_START_SECONDS = 60.0
_MEMBERS = 3
T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.01)
    return value


@dataclass
class Member:
    program: str
    name: str
    directory: Path
    client_port: int
    peer_port: int
    tls: TlsFiles | None
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    def url(self, port: int) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, cluster: str) -> None:
        client, peer = self.url(self.client_port), self.url(self.peer_port)
        command = [
            *_COMMANDS[self.program], *_FLAGS, "--name", self.name,
            "--data-dir", str(self.directory / self.name),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", cluster, *_tls_flags(self.tls),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment(), stdout=log, stderr=log
            )

    def _environment(self) -> dict[str, str]:
        """Our code is compiled once, as it is on a machine (provision/bundle), although whoever
        measures may have told Python to leave no byte code in this tree."""
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(self.directory / "compiled")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment

    def kill(self) -> None:
        """As `kill -9`; does not wait for the body."""
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """grpcio's own client: the reference for both."""
        target = f"127.0.0.1:{self.client_port}"
        options = [("grpc.max_receive_message_length", -1)]
        if self.tls is None:
            channel = grpc.insecure_channel(target, options)
        else:
            files = self.tls.material()
            credentials = grpc.ssl_channel_credentials(files.ca, files.key, files.cert)
            channel = grpc.secure_channel(target, credentials, options)
        with channel:
            yield channel

    def status(self) -> rpc_pb2.StatusResponse | None:
        """None while it does not answer."""
        with self.channel() as channel:
            stub = rpc_pb2_grpc.MaintenanceStub(channel)
            try:
                answer: rpc_pb2.StatusResponse = stub.Status(rpc_pb2.StatusRequest(), timeout=2)
            except grpc.RpcError:
                return None
        return answer

    def serves(self) -> bool:
        """Whether it answers a linearizable read."""
        if self.process is not None and self.process.poll() is not None:
            raise SystemExit(f"{self.program} {self.name} ended: {self.log.read_text()[-2000:]}")
        with self.channel() as channel:
            stub = rpc_pb2_grpc.KVStub(channel)
            try:
                stub.Range(rpc_pb2.RangeRequest(key=b"\0"), timeout=2)
            except grpc.RpcError:
                return False
        return True


def _tls_flags(tls: TlsFiles | None) -> list[str]:
    if tls is None:
        return []
    cert, key, ca = str(tls.cert), str(tls.key), str(tls.ca)
    return [
        "--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca, "--client-cert-auth",
        "--peer-cert-file", cert, "--peer-key-file", key, "--peer-trusted-ca-file", ca,
        "--peer-client-cert-auth",
    ]  # fmt: skip


@dataclass
class Cluster:
    program: str
    members: list[Member]

    @property
    def flag(self) -> str:
        return ",".join(f"{member.name}={member.url(member.peer_port)}" for member in self.members)

    @property
    def pids(self) -> list[int]:
        return [member.pid for member in self.members]

    def start(self) -> None:
        for member in self.members:
            member.start(self.flag)

    def wait_serving(self) -> None:
        for member in self.members:
            wait_for(member.serves, _START_SECONDS, f"{self.program} {member.name} serving")

    def leader(self) -> Member:
        def find() -> Member | None:
            for member in self.members:
                status = member.status()
                if status is not None and status.leader == status.header.member_id:
                    return member
            return None

        return wait_for(find, 30, f"a leader of {self.program}")

    def revision(self) -> int:
        status = self.leader().status()
        return status.header.revision if status else 0

    @contextmanager
    def kv(self) -> Iterator[rpc_pb2_grpc.KVStub]:
        with self.leader().channel() as channel:
            yield rpc_pb2_grpc.KVStub(channel)

    def compact(self) -> None:
        """Forget old versions, as every user of etcd does, so that rounds are alike."""
        with self.kv() as kv:
            kv.Compact(rpc_pb2.CompactionRequest(revision=self.revision(), physical=True))


@contextmanager
def clusters(directory: Path, *, tls: bool = False) -> Iterator[dict[str, Cluster]]:
    """One cluster of each program, serving; killed and deleted at the end whatever happens."""
    identity = _identity(directory) if tls else None
    with ExitStack() as stack:
        both: dict[str, Cluster] = {}
        for program in PROGRAMS:
            place = directory / program
            place.mkdir(parents=True)
            ports = _free_ports(2 * _MEMBERS)
            members = [
                Member(program, f"m{i}", place, ports[2 * i], ports[2 * i + 1], identity)
                for i in range(_MEMBERS)
            ]
            for member in members:
                stack.callback(member.end)
            both[program] = Cluster(program, members)
            both[program].start()
        for cluster in both.values():
            cluster.wait_serving()
        yield both


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _identity(directory: Path) -> TlsFiles:
    """One certificate for members and clients alike."""
    now = datetime.now(UTC)
    authority = new_authority("bench-ca", now)
    request = LeafRequest("bench", addresses=("127.0.0.1",), server=True, client=True)
    pair = issue(authority, request, now)
    directory.mkdir(parents=True, exist_ok=True)
    files = TlsFiles(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    files.cert.write_bytes(pair.cert)
    files.key.touch(mode=0o600)
    files.key.write_bytes(pair.key)
    files.ca.write_bytes(authority.cert)
    return files
