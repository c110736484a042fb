"""conmon, the small monitor of one container: its parent, its log writer, its witness.

conmon outlives us. It writes the log in CRI's format, the exit code into the exit directory, an
`oom` file into the persist directory, and serves an attach socket and a control FIFO in the
bundle.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.runtime.errors import RuntimeFailure
from worker.runtime.oci.runtime import OciRuntime

CREATE_TIMEOUT_SECONDS = 120
_RESIZE, _REOPEN_LOGS = 1, 2
_END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Monitored:
    """Where the files of one container's monitor are."""

    container_id: str
    bundle: Path
    log_path: Path
    exit_dir: Path
    persist_dir: Path

    @property
    def pid_file(self) -> Path:
        return self.bundle / "pid"

    @property
    def conmon_pid_file(self) -> Path:
        return self.bundle / "conmon.pid"

    @property
    def exit_file(self) -> Path:
        return self.exit_dir / self.container_id

    @property
    def oom_file(self) -> Path:
        return self.persist_dir / "oom"


def arguments(
    binary: str, runtime: OciRuntime, m: Monitored, *, tty: bool, stdin: bool, stdin_once: bool
) -> list[str]:
    """conmon's command line. Pure."""
    args = [
        binary,
        "--api-version", "1",
        "--cid", m.container_id,
        "--cuuid", m.container_id,
        "--name", m.container_id,
        "--runtime", runtime.binary,
        "--bundle", str(m.bundle),
        "--container-pidfile", str(m.pid_file),
        "--conmon-pidfile", str(m.conmon_pid_file),
        "--log-path", f"k8s-file:{m.log_path}",
        "--exit-dir", str(m.exit_dir),
        "--persist-dir", str(m.persist_dir),
        # The attach socket in the bundle itself: the default place may not exist.
        "--full-attach",
        "--no-sync-log",
    ]  # fmt: skip
    for argument in runtime.global_args:
        args += ["--runtime-arg", argument]
    if tty:
        args.append("--terminal")
    if stdin:
        args.append("--stdin")
        if not stdin_once:
            args.append("--leave-stdin-open")
    return args


async def create(args: Sequence[str], bundle: Path) -> int:
    """Start conmon in `bundle`, where it creates the container. Returns the pid of its init.

    On an OOM kill conmon writes an `oom` file into its working directory too.

    conmon answers on the "sync pipe"; without it, it would return before `create` is done.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        process = await asyncio.create_subprocess_exec(
            *args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(write_end,),
            env={"_OCI_SYNCPIPE": str(write_end), "PATH": os.environ.get("PATH", "/usr/bin:/bin")},
            cwd=bundle,
            start_new_session=True,
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        async with asyncio.timeout(CREATE_TIMEOUT_SECONDS):
            answer = await _read_line(pipe.fileno())
            await process.wait()
    return _parse_answer(answer)


def _parse_answer(line: bytes) -> int:
    if not line:
        raise RuntimeFailure("conmon ended without creating the container")
    answer = json.loads(line)
    pid = int(answer["data"])
    if pid < 0:
        raise RuntimeFailure(f"create failed: {str(answer.get('message', '')).strip()[-1000:]}")
    return pid


async def _read_line(fd: int) -> bytes:
    """Up to the newline: conmon keeps the pipe open for as long as it lives."""
    loop = asyncio.get_running_loop()
    content = bytearray()
    os.set_blocking(fd, False)
    while not content.endswith(b"\n"):
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(fd, _settle, readable)
        try:
            await readable
        finally:
            loop.remove_reader(fd)
        chunk = os.read(fd, 4096)
        if not chunk:
            break
        content += chunk
    return bytes(content)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def reopen_log(m: Monitored) -> None:
    _control(m, f"{_REOPEN_LOGS} 0 0\n")


def resize(m: Monitored, rows: int, columns: int) -> None:
    _control(m, f"{_RESIZE} {rows} {columns}\n")


def _control(m: Monitored, line: str) -> None:
    # Opening a FIFO for writing fails at once when nobody reads it: the monitor is gone.
    fd = os.open(m.bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def attach(m: Monitored) -> socket.socket:
    """Connect to the container's stdio. Each packet starts with 2 (stdout) or 3 (stderr)."""
    directory = os.open(m.bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            # Through /proc, since the bundle's path may be longer than a socket address.
            sock.connect(f"/proc/self/fd/{directory}/attach")
        except BaseException:
            sock.close()
            raise
        sock.setblocking(False)
        return sock
    finally:
        os.close(directory)


def exit_code(m: Monitored) -> int | None:
    """The exit code that conmon left; None while there is none."""
    try:
        return int(m.exit_file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def end_monitor(bundle: Path, container_id: str) -> None:
    """Kill the conmon of a container that is being removed, and with it a `create` under way.

    conmon's children get SIGKILL when it dies before they have exec'd. Blocks for a moment.
    """
    pid = _pid_of(bundle / "conmon.pid", container_id)
    if pid is None:
        return
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        select.select([fd], [], [], _END_SECONDS)
    except ProcessLookupError:
        return
    finally:
        os.close(fd)


def monitor_pid(m: Monitored) -> int | None:
    """The pid of this container's living conmon; None when it is gone or another's."""
    return _pid_of(m.conmon_pid_file, m.container_id)


def _pid_of(pid_file: Path, container_id: str) -> int | None:
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if container_id.encode() in command else None
