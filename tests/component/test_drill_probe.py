"""The drill's own client, against a real server on loopback."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from drills.events import Request
from drills.load import SOURCE_PORTS, Prober, source_ports


class Server:
    """Answers 200, and notes from which port it was asked."""

    def __init__(self) -> None:
        self.asked_from: list[int] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked_from.append(writer.get_extra_info("peername")[1])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello\n")
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield made


def prober(server: Server, told: list[Request]) -> Prober:
    nodes = [("w1", "127.0.0.1")]
    return Prober(nodes, server.port, per_second=20, timeout=60, record=told.append)


def places(server: Server) -> list[int]:
    """How far behind the first each port is, in the round of all of them."""
    first = server.asked_from[0]
    return [(port - first) % len(SOURCE_PORTS) for port in server.asked_from]


async def test_each_request_has_a_source_port_of_its_own(server: Server) -> None:
    told: list[Request] = []
    client = prober(server, told)
    for _ in range(5):
        assert (await client.one("w1", "127.0.0.1")).answer == "hello"
    # In their order. Any of them may be somebody else's just now, and is left out.
    assert places(server) == sorted({*places(server)})
    assert places(server)[-1] < 500
    assert len(told) == 5


async def test_a_taken_source_port_is_left_out(server: Server) -> None:
    client = prober(server, [])
    await client.one("w1", "127.0.0.1")
    with socket.socket() as other:
        following = next(itertools.islice(_from(server.asked_from[0]), 1, None))
        with suppress(OSError):  # or it is somebody's already
            other.bind(("0.0.0.0", following))
            other.listen()
        assert (await client.one("w1", "127.0.0.1")).ok
    assert 1 < places(server)[1] < 500


def _from(port: int) -> Iterator[int]:
    """The round of ports, from this one on."""
    at = SOURCE_PORTS.index(port)
    return iter([*SOURCE_PORTS[at:], *SOURCE_PORTS[:at]])


async def test_a_server_that_is_not_there_is_a_failure(server: Server) -> None:
    told: list[Request] = []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        client = Prober([], closed.getsockname()[1], per_second=20, timeout=60, record=told.append)
        assert not (await client.one("w1", "127.0.0.1")).ok
    assert not told[0].ok


def test_ports_move_on_with_the_time() -> None:
    run = list(itertools.islice(source_ports(1000.0, 20), 200))
    assert set(run) <= set(SOURCE_PORTS)
    # A minute later the next run begins well behind where this one ended.
    assert set(run).isdisjoint(itertools.islice(source_ports(1060.0, 20), 1000))


def test_all_ports_come_before_any_comes_again() -> None:
    ports = list(itertools.islice(source_ports(12345.6, 20), len(SOURCE_PORTS)))
    assert sorted(ports) == list(SOURCE_PORTS)
