"""Between two members on loopback: what breaks off goes on, and who was removed is told so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from master.kvstore.raft.messages import Message, MessageType, SnapshotMeta
from master.kvstore.transport import frames, peer
from master.kvstore.transport.frames import PROTOCOL, Hello
from master.kvstore.transport.peer import PeerClient, PeerEvents
from master.kvstore.transport.server import PeerHandlers, PeerServer
from master.kvstore.wal.snapshot import SnapshotDirectory

DATA = bytes(range(256)) * 4096
SNAPSHOT = Message(MessageType.SNAPSHOT, 2, 1, 1, snapshot=SnapshotMeta(7, 1))


def hello(sender: int, to: int) -> Hello:
    return Hello(PROTOCOL, 99, sender, to, 1)


def client_of(port: int, gone: Callable[[int], None], told: list[str]) -> PeerClient:
    events = PeerEvents(
        gone=gone,
        removed=lambda: told.append("removed"),
        unreachable=lambda peer: None,
        sent=lambda peer, size: None,
        failed=lambda peer: None,
        round_trip=lambda peer, seconds: None,
    )
    return PeerClient(2, f"http://127.0.0.1:{port}", lambda to: hello(1, to), None, events)


@asynccontextmanager
async def two_members(
    directory: Path, received: list[bytes], removed: set[int], told: list[str], sizes: list[int]
) -> Any:
    async def request(method: str, payload: bytes) -> bytes:
        return payload

    async def snapshot(message: Message, file: Path) -> None:
        received.append(file.read_bytes())

    server = PeerServer(
        hello(2, 0),
        PeerHandlers(
            removed=removed.__contains__,
            greeted=lambda hello: None,
            messages=lambda messages: None,
            request=request,
            incoming=SnapshotDirectory(directory).incoming,
            snapshot=snapshot,
            received=lambda member, size: sizes.append(size),
        ),
    )
    async with server.listen("127.0.0.1", 0, None) as port:
        yield client_of(port, gone=lambda peer: None, told=told)


@pytest.mark.parametrize("broken_after", [0, 1, 3])
async def test_a_snapshot_goes_on_where_it_broke_off(broken_after: int, tmp_path: Path) -> None:
    received: list[bytes] = []
    starts: list[int] = []
    sizes: list[int] = []

    def pieces(start: int, *, fail: bool) -> Iterator[bytes]:
        starts.append(start)
        for number, offset in enumerate(range(start, len(DATA), 1 << 16)):
            if fail and number == broken_after:
                raise OSError("the line went dead")
            yield DATA[offset : offset + (1 << 16)]

    async with two_members(tmp_path, received, set(), [], sizes) as client:
        assert not await client.send_snapshot(SNAPSHOT, lambda start: pieces(start, fail=True))
        async with asyncio.timeout(60):
            while sum(f.stat().st_size for f in tmp_path.glob("*.part")) < broken_after << 16:
                await asyncio.sleep(0)
        assert await client.send_snapshot(SNAPSHOT, lambda start: pieces(start, fail=False))
    assert received == [DATA]
    assert starts == [0, broken_after << 16]


async def test_who_was_removed_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    received: list[bytes] = []
    async with two_members(tmp_path, received, {1}, told, []) as client:
        assert not await client.send_snapshot(SNAPSHOT, lambda start: iter([DATA[start:]]))
    assert told == ["removed"]
    assert received == []


@pytest.mark.parametrize(
    ("cluster", "to", "welcome"), [(99, 2, True), (98, 2, False), (99, 3, False)]
)
async def test_only_members_of_the_same_cluster_that_mean_this_one_come_in(
    cluster: int, to: int, welcome: bool, tmp_path: Path
) -> None:
    async with two_members(tmp_path, [], set(), [], []) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client._port)
        writer.write(frames.encode(Hello(PROTOCOL, cluster, 1, to, 1)))
        async with asyncio.timeout(60):
            answer = await reader.read(1)
        writer.close()
        await writer.wait_closed()
    assert bool(answer) is welcome


async def test_who_dials_in_is_dialled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt by itself would come after an hour."""
    monkeypatch.setattr(peer, "_RETRY_SECONDS", 3600.0)
    refused, greeted = asyncio.Event(), asyncio.Event()
    held = socket.socket()  # it refuses until somebody listens
    held.bind(("127.0.0.1", 0))
    client = client_of(held.getsockname()[1], gone=lambda _: refused.set(), told=[])
    running = asyncio.create_task(client.run())
    async with asyncio.timeout(60):
        await refused.wait()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.set()
        writer.close()

    async with asyncio.timeout(60), await asyncio.start_server(accept, sock=held):
        client.is_there()
        await greeted.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
