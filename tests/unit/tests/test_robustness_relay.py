"""The relays of robustness runs: bytes pass as they are, and late, slowly, at once or in part when
that is wanted. Real sockets on loopback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.robustness.history import Op
from tests.robustness.network import address_of, relay_address_of, slot_of
from tests.robustness.relay import CLIENTS, PERFECT, STALLED, Line, Quality, Relays, Route
from tests.robustness.slownet import too_early

SLOT = 1
THERE = (CLIENTS, SLOT)
BACK = (SLOT, CLIENTS)


@dataclass
class Echo:
    """A member that says again what it hears, and how each of its connections ended."""

    heard: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1 << 16):
                self.heard += piece
                writer.write(piece)
                await writer.drain()
            writer.close()
        except ConnectionError:
            writer.transport.abort()
        self.ended.set()


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Relays, Echo, int]]:
    echo, relays = Echo(), Relays(random.Random(1))
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    route = Route(SLOT, server.sockets[0].getsockname(), lambda _: (CLIENTS, None))
    try:
        yield relays, echo, await relays.listen("127.0.0.1", 0, route)
    finally:
        await relays.close()
        server.close()
        await server.wait_closed()


async def test_bytes_and_ends_pass_as_they_are() -> None:
    sent = random.Random(2).randbytes(3 << 20)
    async with world() as (relays, echo, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent
        assert echo.heard == sent
        assert relays.line(*THERE).carried == relays.line(*BACK).carried == len(sent)
        assert relays.cuts == 0
        writer.close()


@pytest.mark.parametrize("pair", [THERE, BACK])
async def test_each_way_has_its_own_delay(pair: tuple[int, int]) -> None:
    loop = asyncio.get_running_loop()
    async with world() as (relays, _, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        relays.become(Quality(0.1, 0.02), [pair])
        began = loop.time()
        for number in range(10):  # on their way all at once, in order
            writer.write(bytes([number]))
        assert await reader.readexactly(10) == bytes(range(10))
        assert loop.time() - began >= 0.1
        writer.close()


async def test_a_stalled_line_takes_what_is_sent_and_delivers_it_when_healed() -> None:
    async with world() as (relays, echo, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        relays.become(STALLED, [THERE])
        writer.write(bytes(1 << 20))
        await writer.drain()  # far less than a megabyte is left to be sent: the relay took it
        assert echo.heard == b"before"
        relays.heal()
        assert await reader.readexactly(1 << 20) == bytes(1 << 20)
        writer.close()


async def test_a_cut_connection_ends_in_the_middle_of_what_was_said() -> None:
    async with world() as (relays, echo, port), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"whole")
        assert await reader.readexactly(5) == b"whole"
        assert relays.cut(*THERE) == 1
        writer.write(b"in two")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(100)
        await echo.ended.wait()
        assert relays.cuts == 1
        assert echo.heard in [b"whole" + b"in two"[:size] for size in range(1, 6)]
        assert relays.cut(*THERE) == 0
        writer.close()


async def test_who_cannot_be_reached_ends_the_connection() -> None:
    relays = Relays(random.Random(1))
    unused = await asyncio.start_server(Echo().serve, "127.0.0.1", 0)
    target = unused.sockets[0].getsockname()
    unused.close()
    await unused.wait_closed()
    port = await relays.listen("127.0.0.1", 0, Route(SLOT, target, lambda _: (CLIENTS, None)))
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()
    await relays.close()


async def test_a_slow_line_takes_turns_and_a_changed_one_owes_nothing() -> None:
    line = Line(random.Random(1))
    assert line.arrival(1000, now=5.0) == 5.0
    line.become(Quality(delay_seconds=0.5, bytes_per_second=1000))
    assert line.arrival(1000, now=5.0) == 6.5
    assert line.arrival(500, now=5.0) == 7.0
    assert line.arrival(500, now=60.0) == 61.0
    changed = line.changed
    line.become(PERFECT)
    assert changed.is_set()
    assert line.arrival(1000, now=5.0) == 5.0


def test_addresses_tell_members_from_clients() -> None:
    assert slot_of(address_of(3)) == 3
    assert slot_of(relay_address_of(3)) == CLIENTS
    assert slot_of("10.111.0.254") == CLIENTS


def test_answers_that_outran_the_network_are_told() -> None:
    slow = Op(1, "put", "m1", 10.0, end=10.2)
    quick = Op(2, "get", "m1", 10.0, end=10.05)
    others = [
        Op(3, "stale", "m1", 10.0, end=10.01),  # asks nobody
        Op(4, "put", "m1", 9.0, end=9.01),  # before the delay
        Op(5, "put", "m1", 10.0),
    ]
    assert too_early([slow, *others], since=9.5, round_trip_seconds=0.1) == []
    (told,) = too_early([slow, quick, *others], since=9.5, round_trip_seconds=0.1)
    assert "get 2 was answered after 50.0 ms" in told
