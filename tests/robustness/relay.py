"""TCP relays, by which a network between members, or to clients, becomes slow, stalls and breaks.

A relay stands for each member at an address of its own, and dials that member from the address
that stands for who dialled it: so partitions work as without relays. Bytes pass as they are.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from math import inf

CLIENTS = 0  # as one end of a line; members have their slots
_PIECE = 4096
_PIECES_ON_THE_WAY = 1 << 14  # on one connection one way; whoever sends more has to wait
_DIAL_SECONDS = 5.0

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Quality:
    """How bytes travel from one to another. The jitter comes on top of the delay."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: float = inf


PERFECT = Quality()
STALLED = Quality(delay_seconds=inf)  # what is sent arrives when the line is another one again


class Line:
    """One way between two, whatever the number of connections."""

    def __init__(self, rng: random.Random) -> None:
        self.quality = PERFECT
        self.carried = 0
        self.changed = asyncio.Event()
        self._rng = rng
        self._free_at = 0.0

    def become(self, quality: Quality) -> None:
        """What is on its way arrives at once."""
        self.quality = quality
        self._free_at = 0.0
        self.changed.set()
        self.changed = asyncio.Event()

    def arrival(self, size: int, now: float) -> float:
        """When all of `size` bytes that are sent now have come; a slow line takes turns."""
        self._free_at = max(self._free_at, now) + size / self.quality.bytes_per_second
        jitter = self._rng.uniform(0, self.quality.jitter_seconds)
        return self._free_at + self.quality.delay_seconds + jitter


class _Cut(ConnectionError):
    """On purpose."""


class _Pipe:
    """One way of one connection. TCP's order is kept: a late piece keeps those behind it."""

    def __init__(
        self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.line = line
        self.cut_at: Callable[[int], int] | None = None
        self._reader = reader
        self._writer = writer
        self._pieces: asyncio.Queue[tuple[float, asyncio.Event, bytes]] = asyncio.Queue(
            _PIECES_ON_THE_WAY
        )

    async def take(self) -> None:
        piece = b"more"
        while piece:
            try:
                piece = await self._reader.read(_PIECE)
            except ConnectionError:
                piece = b""
            due = self.line.arrival(len(piece), asyncio.get_running_loop().time())
            await self._pieces.put((due, self.line.changed, piece))

    async def deliver(self) -> None:
        while True:
            due, changed, piece = await self._pieces.get()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await changed.wait()
            if self.cut_at is not None and len(piece) > 1:
                self._writer.write(piece[: self.cut_at(len(piece))])
                raise _Cut
            if not piece:
                self._writer.write_eof()
                return
            self._writer.write(piece)
            self.line.carried += len(piece)
            await self._writer.drain()


@dataclass(frozen=True, slots=True)
class Route:
    """To the member of a slot, at `target`. `origin` tells of an address who dials from there, and
    from which address the member shall see it dial."""

    slot: int
    target: tuple[str, int]
    origin: Callable[[str], tuple[int, str | None]]


class Relays:
    """Must be made where an event loop runs. `cuts` counts the connections that were cut."""

    def __init__(self, rng: random.Random) -> None:
        self.cuts = 0
        self._rng = rng
        self._lines: dict[Pair, Line] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._pipes: set[_Pipe] = set()

    def line(self, sender: int, receiver: int) -> Line:
        pair = (sender, receiver)
        if pair not in self._lines:
            self._lines[pair] = Line(self._rng)
        return self._lines[pair]

    async def listen(self, host: str, port: int, route: Route) -> int:
        """Relay what comes to that address. Returns the port."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._connect(route, reader, writer), name="relay")
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        server = await asyncio.start_server(accept, host, port)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def _connect(
        self, route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writers = [writer]
        sender, source = route.origin(writer.get_extra_info("peername")[0])
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(
                    *route.target, local_addr=(source, 0) if source else None
                )
            writers.append(far_writer)
            await self._carry(
                _Pipe(self.line(sender, route.slot), reader, far_writer),
                _Pipe(self.line(route.slot, sender), far_reader, writer),
            )
            for one in writers:
                one.close()
                await one.wait_closed()
        except* (OSError, TimeoutError):
            pass  # whoever dialled sees a connection that ends
        finally:
            for one in writers:
                one.transport.abort()

    async def _carry(self, *pipes: _Pipe) -> None:
        self._pipes.update(pipes)
        try:
            async with asyncio.TaskGroup() as tasks:
                for pipe in pipes:
                    tasks.create_task(pipe.take())
                    tasks.create_task(pipe.deliver())
        except* _Cut:
            self.cuts += 1
            raise
        finally:
            self._pipes.difference_update(pipes)

    # --- faults

    def become(self, quality: Quality, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            self.line(*pair).become(quality)

    def heal(self) -> None:
        for pipe in self._pipes:
            pipe.cut_at = None
        for line in self._lines.values():
            line.become(PERFECT)

    def cut(self, sender: int, receiver: int) -> int:
        """Each connection ends in the middle of the next piece that goes this way; how many."""
        line = self.line(sender, receiver)
        doomed = [pipe for pipe in self._pipes if pipe.line is line]
        for pipe in doomed:
            pipe.cut_at = lambda size: self._rng.randrange(1, size)
        return len(doomed)

    def cut_since(self, cuts: int) -> bool:
        """Whether there were more than that by now."""
        return self.cuts > cuts

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
