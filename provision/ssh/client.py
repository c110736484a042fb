"""SSH by paramiko: run a command, send a file. The host key must be the pinned one."""

from __future__ import annotations

import asyncio
import base64
import logging
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import paramiko

from provision.errors import MachineUnreachable
from provision.providers.base import SshTarget

CHUNK = 1 << 16
TRY_SECONDS = 5
# A machine that lost its power says nothing: ask now and then, and give up when nobody answers.
ASK_SECONDS = 5
SILENT_SECONDS = 20
# paramiko logs its own tracebacks; ours says the same in one line.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

Sink = Callable[[bytes], object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


def command_line(target: SshTarget, command: list[str]) -> str:
    """`command` quoted for the remote shell; as root, by sudo where the user is another."""
    line = shlex.join(command)
    return line if target.user == "root" else f"sudo -n -- {line}"


class Connection:
    """An open connection. Not for use by several threads at once."""

    def __init__(self, client: paramiko.SSHClient, target: SshTarget, name: str) -> None:
        self._client = client
        self._target = target
        self._name = name

    def notice_silence(self) -> None:
        """Break the connection once the machine acknowledges nothing any more (tcp(7))."""
        transport = self._client.get_transport()
        assert transport is not None
        transport.set_keepalive(ASK_SECONDS)
        connected = transport.sock
        assert isinstance(connected, socket.socket)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_SECONDS * 1000)

    def break_off(self) -> None:
        """Close it from another thread: whoever waits on it fails at once."""
        self._client.close()

    def run(self, command: list[str], timeout: float | None = None) -> Finished:
        """Run to the end and keep the output."""
        out, err = bytearray(), bytearray()
        status = self.stream(command, out.extend, err.extend, timeout=timeout)
        return Finished(status, bytes(out), bytes(err))

    def stream(
        self,
        command: list[str],
        out: Sink,
        err: Sink,
        stdin: BinaryIO | None = None,
        timeout: float | None = None,
    ) -> int:
        """Run, passing output on as it comes. Returns the exit status."""
        with self._failures():
            transport = self._client.get_transport()
            assert transport is not None
            channel = transport.open_session(timeout=timeout)
            channel.settimeout(timeout)
            channel.exec_command(command_line(self._target, command))
            if stdin is not None:
                while chunk := stdin.read(CHUNK):
                    channel.sendall(chunk)
            channel.shutdown_write()
            _drain(channel, out, err)
            return channel.recv_exit_status()

    def put(self, local: Path, remote: str) -> None:
        """Send a file; `remote` appears whole or not at all, and is its owner's alone."""
        with self._failures(), local.open("rb") as file:
            temporary = f"{remote}.part"
            status = self.stream(
                ["sh", "-c", 'umask 077; cat > "$1"', "sh", temporary], bytes, bytes, stdin=file
            )
            if status == 0:
                status = self.run(["mv", "--", temporary, remote]).status
            if status != 0:
                raise MachineUnreachable(
                    f'could not write "{remote}" on {self._name}', "is its disk full?"
                )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise MachineUnreachable(
                f"the connection to {self._name} broke: {_reason(error)}",
                "see `muster node list`",
            ) from error


def _drain(channel: paramiko.Channel, out: Sink, err: Sink) -> None:
    """Both streams until both end; neither may fill up while the other is waited for."""
    channel.set_combine_stderr(False)
    while True:
        # Asked first: what came before the end is still read below.
        ended = channel.closed or (channel.exit_status_ready() and channel.eof_received)
        progress = False
        while channel.recv_ready():
            out(channel.recv(CHUNK))
            progress = True
        while channel.recv_stderr_ready():
            err(channel.recv_stderr(CHUNK))
            progress = True
        if progress:
            continue
        if ended:
            return
        channel.status_event.wait(0.02)


@contextmanager
def connect(target: SshTarget, name: str, timeout: float = 10) -> Iterator[Connection]:
    """Connect to `target`, or say why not. `name` is the machine's, for messages."""
    client = paramiko.SSHClient()
    kind, encoded = target.host_key.split()[:2]
    host = target.host if target.port == 22 else f"[{target.host}]:{target.port}"
    key = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
    client.get_host_keys().add(host, kind, key)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.connect(
            target.host,
            port=target.port,
            username=target.user,
            key_filename=str(target.key_file),
            allow_agent=False,
            look_for_keys=False,
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
        )
        connection = Connection(client, target, name)
        connection.notice_silence()
        yield connection
    except paramiko.BadHostKeyException as error:
        raise MachineUnreachable(
            f"{name} ({host}) shows another host key than it was given",
            "something else answers at its address; if that is known to be right, "
            "`muster down` and `muster up` make the lab anew",
        ) from error
    except paramiko.AuthenticationException as error:
        raise MachineUnreachable(
            f"{name} ({host}) does not accept the lab's SSH key", "was its disk replaced?"
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise MachineUnreachable(
            f"{name} ({host}) does not answer over SSH: {_reason(error)}",
            "see `muster node list`; `muster node start` starts a stopped machine",
        ) from error
    finally:
        client.close()


async def over_ssh(target: SshTarget, name: str, work: Callable[[Connection], T]) -> T:
    """`work` over a connection, in a thread; cancelling breaks the connection and ends it."""
    opened: list[Connection] = []
    given_up = threading.Event()

    def call() -> T:
        with connect(target, name) as connection:
            opened.append(connection)
            if given_up.is_set():
                raise MachineUnreachable(f"{name}: nobody waits any more")
            return work(connection)

    try:
        return await asyncio.to_thread(call)
    except asyncio.CancelledError:
        given_up.set()
        for connection in opened:
            connection.break_off()
        raise


async def wait_reachable(target: SshTarget, name: str, deadline_seconds: float) -> None:
    """Until a command runs on the machine, or raise what kept it from running.

    Only single tries are in a thread: a thread cannot be cancelled, and one that waited to the
    deadline would keep an interrupted command from ending.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        try:
            if await asyncio.to_thread(_answers, target, name):
                return
        except MachineUnreachable as error:
            refused = isinstance(
                error.__cause__, paramiko.BadHostKeyException | paramiko.AuthenticationException
            )
            if refused or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


def _answers(target: SshTarget, name: str) -> bool:
    with connect(target, name, timeout=TRY_SECONDS) as connection:
        return connection.run(["true"], timeout=TRY_SECONDS).status == 0


def _reason(error: BaseException) -> str:
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
