"""Runs short-lived tools (crun, runc) with bounded output and a deadline.

Never waits for the end of a pipe: an OCI runtime may leave a container process behind that
holds our pipe open for ever. Only the end of the tool itself counts; output that is there by
then is taken. The pipes are our own, since asyncio's would tie `wait()` to their end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# How long to look for the rest of the output after the tool itself has ended.
_DRAIN_SECONDS = 0.2
# Of a tool's own output, both streams together.
_KEPT_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Completed:
    code: int
    stdout: bytes
    stderr: bytes

    def reason(self) -> str:
        text = (self.stderr or self.stdout).decode(errors="replace").strip()
        return text[-1000:] or f"exit code {self.code}"


class OutputPipe:
    """A pipe whose write end goes to a child and whose read end is a stream here."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        self.stream = asyncio.StreamReader()
        self._transport: asyncio.ReadTransport | None = None

    async def connect(self) -> None:
        """Close the write end, which the child has by now, and start reading."""
        os.close(self.write_end)
        self.write_end = -1
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.stream),
            os.fdopen(self._read_end, "rb", buffering=0),
        )

    def close(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1
        if self._transport is not None:
            self._transport.close()
        elif self._read_end >= 0:
            os.close(self._read_end)
            self._read_end = -1


class Room:
    """How much output may be kept, by all who share the room; the rest is read and dropped."""

    def __init__(self, size: int, inside: Room | None = None) -> None:
        self._left, self._inside = size, inside
        self._taken = 0

    def take(self, wanted: int) -> int:
        """How many of so many bytes there is room for."""
        got = min(wanted, self._left)
        if self._inside is not None:
            got = self._inside.take(got)
        self._left -= got
        self._taken += got
        return got

    def leave(self) -> None:
        """Give back to the larger room what was taken of it."""
        if self._inside is not None:
            self._inside._left += self._taken
        self._left, self._taken = self._left + self._taken, 0


class Collector:
    """Reads a pipe to its end and keeps what there is room for."""

    def __init__(self, pipe: OutputPipe, room: Room) -> None:
        self._pipe = pipe
        self._room = room
        self._content = bytearray()
        self._task = asyncio.create_task(self._read(), name="collect output")

    async def _read(self) -> None:
        while chunk := await self._pipe.stream.read(1 << 16):
            self._content += chunk[: self._room.take(len(chunk))]

    async def finish(self) -> bytes:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await asyncio.shield(self._task)
        return bytes(self._content)

    def close(self) -> None:
        self._task.cancel()
        self._pipe.close()


async def run(
    command: Sequence[str],
    *,
    timeout: float | None,
    room: Room | None = None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command to its end. Raises TimeoutError (the command is killed), OSError."""
    out_pipe, err_pipe = OutputPipe(), OutputPipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out_pipe.write_end,
            stderr=err_pipe.write_end,
            env=env,
        )
        await out_pipe.connect()
        await err_pipe.connect()
    except BaseException:
        out_pipe.close()
        err_pipe.close()
        raise
    room = room or Room(_KEPT_BYTES)
    out, err = Collector(out_pipe, room), Collector(err_pipe, room)
    try:
        async with asyncio.timeout(timeout):
            code = await process.wait()
        return Completed(code, await out.finish(), await err.finish())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        out.close()
        err.close()
        room.leave()
