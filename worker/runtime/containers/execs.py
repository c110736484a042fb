"""Runs commands inside containers: captured (ExecSync) and streamed (Exec)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import signal
import struct
import termios
import tty
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from worker.runtime import commands, documents
from worker.runtime.commands import Completed, OutputPipe, Room
from worker.runtime.errors import DeadlineExceeded, RuntimeFailure
from worker.runtime.oci import spec as oci_spec
from worker.runtime.oci.runtime import OciRuntime

# CRI: 16 MB; of both streams together, since kubelets take no larger answers.
OUTPUT_LIMIT = 16_000_000
# Of all commands that run at the same time: as many probes as there are containers may be chatty.
_ALL_OUTPUT = 4 * OUTPUT_LIMIT


@dataclass(frozen=True, slots=True)
class _Files:
    process: Path
    pid: Path


class Execs:
    def __init__(self, runtime: OciRuntime, bundles: Path, scratch: Path) -> None:
        self._runtime = runtime
        self._bundles = bundles
        self._scratch = scratch
        self._room = Room(_ALL_OUTPUT)

    async def run(
        self, container_id: str, command: Sequence[str], timeout: float | None
    ) -> Completed:
        """Run to the end and keep the output. At the deadline the process is killed."""
        with self._prepared(container_id, command, terminal=False) as files:
            line = self._runtime.exec_command(container_id, files.process, files.pid)
            try:
                return await commands.run(
                    line, timeout=timeout, room=Room(OUTPUT_LIMIT, self._room)
                )
            except TimeoutError as error:
                _kill(files.pid)
                raise DeadlineExceeded(
                    f"command in container {container_id[:12]} did not end in {timeout} s"
                ) from error
            except OSError as error:
                raise RuntimeFailure(f"exec did not start: {error}") from error

    @asynccontextmanager
    async def stream(
        self, container_id: str, command: Sequence[str], *, terminal: bool, stdin: bool
    ) -> AsyncIterator[ExecStream]:
        """Run with streams. Leaving the block early kills the process."""
        with self._prepared(container_id, command, terminal=terminal) as files:
            line = self._runtime.exec_command(container_id, files.process, files.pid)
            stream = ExecStream()
            try:
                await (stream.open_terminal(line) if terminal else stream.open_pipes(line, stdin))
                yield stream
            finally:
                if stream.process is not None and stream.process.returncode is None:
                    _kill(files.pid)
                    with suppress(ProcessLookupError):
                        stream.process.kill()
                    await stream.process.wait()
                stream.close()

    def _prepared(self, container_id: str, command: Sequence[str], *, terminal: bool) -> _Prepared:
        config = self._bundles / container_id / "config.json"
        try:
            spec = msgspec.json.decode(config.read_bytes())
        except OSError as error:
            raise RuntimeFailure(f"container {container_id} has no bundle: {error}") from error
        process = oci_spec.exec_process(spec["process"], command, tty=terminal)
        return _Prepared(self._scratch / secrets.token_hex(8), process)


class _Prepared:
    """The files of one exec, removed at the end of the block."""

    def __init__(self, stem: Path, process: object) -> None:
        self._files = _Files(stem.with_suffix(".json"), stem.with_suffix(".pid"))
        self._process = process

    def __enter__(self) -> _Files:
        documents.replace_file(self._files.process, msgspec.json.encode(self._process))
        return self._files

    def __exit__(self, *_: object) -> None:
        self._files.process.unlink(missing_ok=True)
        self._files.pid.unlink(missing_ok=True)


class ExecStream:
    """The stdio of one running exec: either pipes, or one terminal for all."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._pipes: list[OutputPipe] = []
        self._transports: list[asyncio.BaseTransport] = []
        self._stdin: asyncio.StreamWriter | None = None
        self._terminal = -1

    async def open_pipes(self, line: Sequence[str], stdin: bool) -> None:
        out, err = OutputPipe(), OutputPipe()
        self._pipes = [out, err]
        stdin_read, stdin_write = os.pipe2(os.O_CLOEXEC) if stdin else (-1, -1)
        try:
            self.process = await asyncio.create_subprocess_exec(
                *line,
                stdin=stdin_read if stdin else asyncio.subprocess.DEVNULL,
                stdout=out.write_end,
                stderr=err.write_end,
            )
        finally:
            if stdin:
                os.close(stdin_read)
        await out.connect()
        await err.connect()
        self.stdout, self.stderr = out.stream, err.stream
        if stdin:
            await self._connect_stdin(stdin_write)

    async def open_terminal(self, line: Sequence[str]) -> None:
        """The runtime makes the container's own terminal and relays it to the one we give it."""
        self._terminal, inner = os.openpty()
        tty.setraw(inner)
        try:
            self.process = await asyncio.create_subprocess_exec(
                *line, stdin=inner, stdout=inner, stderr=inner, start_new_session=True
            )
        finally:
            os.close(inner)
        self.stdout = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        reader = self.stdout
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader),
            os.fdopen(os.dup(self._terminal), "rb", buffering=0),
        )
        self._transports.append(transport)
        await self._connect_stdin(os.dup(self._terminal))

    async def _connect_stdin(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(fd, "wb", buffering=0)
        )
        self._transports.append(transport)
        self._stdin = asyncio.StreamWriter(transport, protocol, None, loop)

    async def write(self, data: bytes) -> None:
        """To the process's stdin; one that does not read any more loses it."""
        if self._stdin is None:
            return
        with suppress(ConnectionError, OSError):
            self._stdin.write(data)
            await self._stdin.drain()

    def close_stdin(self) -> None:
        if self._stdin is not None and self._terminal < 0:
            self._stdin.close()
            self._stdin = None

    def resize(self, rows: int, columns: int) -> None:
        if self._terminal < 0 or self.process is None:
            return
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # Our terminal is not the relay's controlling one, so the kernel does not tell it.
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGWINCH)

    async def wait(self) -> int:
        assert self.process is not None
        return await self.process.wait()

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for transport in self._transports:
            transport.close()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1


def _kill(pid_file: Path) -> None:
    """Kill the process inside the container; killing the tool that waits for it does not."""
    with suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
