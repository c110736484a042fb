"""The outgoing connections to all other members; they follow the member list."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from master.kvstore.cluster import ClusterInfo
from master.kvstore.transport import frames
from master.kvstore.transport.frames import PROTOCOL, BadFrame, Hello, Request, Response
from master.kvstore.transport.peer import PeerClient, PeerEvents


class Peers:
    """`clients` is what the driver sends through. A changed URL makes a new connection."""

    def __init__(
        self, hello: Callable[[int], Hello], tls: ssl.SSLContext | None, events: PeerEvents
    ) -> None:
        self.clients: dict[int, PeerClient] = {}
        self._hello = hello
        self._tls = tls
        self._events = events
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._urls: dict[int, str] = {}

    def follow(self, wanted: Mapping[int, str]) -> None:
        """Connect to exactly these: member id -> peer URL."""
        for member in list(self._urls):
            if wanted.get(member) != self._urls[member]:
                self._drop(member)
        for member, url in wanted.items():
            if member not in self._urls:
                self._add(member, url)

    def _add(self, member: int, url: str) -> None:
        client = PeerClient(member, url, self._hello, self._tls, self._events)
        self.clients[member] = client
        self._urls[member] = url
        self._tasks[member] = asyncio.create_task(client.run(), name=f"peer-{member:x}")

    def _drop(self, member: int) -> None:
        del self.clients[member], self._urls[member]
        self._tasks.pop(member).cancel()

    def close(self) -> None:
        self.follow({})


async def ask_cluster(
    url: str, tls: ssl.SSLContext | None, seconds: float, connect_seconds: float | None = None
) -> ClusterInfo:
    """What the member at `url` says about its cluster. BadFrame, OSError when it does not."""
    answer = await ask(url, tls, "cluster", b"", seconds, connect_seconds)
    if not answer.ok:
        raise BadFrame("no answer about the cluster")
    try:
        return msgspec.msgpack.decode(answer.payload, type=ClusterInfo)
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadFrame(str(error)) from error


async def ask(
    url: str,
    tls: ssl.SSLContext | None,
    method: str,
    payload: bytes,
    seconds: float,
    connect_seconds: float | None = None,
) -> Response:
    """One question on a connection of its own, by somebody who need not be a member. With
    `connect_seconds` there is less patience where nothing listens: the kernel alone connects."""
    async with asyncio.timeout(seconds):
        return await _ask(url, tls, Request(1, method, payload), connect_seconds)


async def _ask(
    url: str, tls: ssl.SSLContext | None, request: Request, connect_seconds: float | None
) -> Response:
    parts = urlsplit(url)
    host = parts.hostname or ""
    async with asyncio.timeout(connect_seconds):
        reader, writer = await asyncio.open_connection(host, parts.port)
    try:
        if tls is not None and parts.scheme == "https":
            await writer.start_tls(tls, server_hostname=host)
        writer.write(frames.encode(Hello(PROTOCOL, 0, 0, 0, 0)))
        writer.write(frames.encode(request))
        await frames.read(reader)  # the other side's hello
        answer, _ = await frames.read(reader)
    finally:
        writer.close()
    if not isinstance(answer, Response):
        raise BadFrame("no answer to a question")
    return answer


# What `ask` may fail with when nobody answers there.
NO_ANSWER = (OSError, TimeoutError, BadFrame, asyncio.IncompleteReadError)
