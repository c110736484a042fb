"""Serves transport-free services (`kube.rpc.service`) on libnghttp2.

async with h2_server(methods, [Listen("0.0.0.0", 2379, tls)], observer) as ports: ...

The same signature and the same behaviour towards services as `kube.rpc.grpcio`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

from kube.component.log import get_logger
from kube.component.tls import server_context
from kube.http.connection import HttpConnection
from kube.http.listener import Accepted, Listener, listening_socket
from kube.http.server import end_all
from kube.rpc.errors import Code, RpcError
from kube.rpc.h2.calls import ServerCall
from kube.rpc.h2.connection import Connection, Settings
from kube.rpc.h2.front import Front
from kube.rpc.h2.page import PageCall
from kube.rpc.h2.session import Event, Kind, refusal
from kube.rpc.h2.wire import (
    BadHeader,
    decode_block,
    decode_metadata,
    encode_block,
    is_grpc,
    parse_timeout,
    status_fields,
)
from kube.rpc.listen import Keepalive, Listen, Site, Translate
from kube.rpc.service import Method, Observer

log = get_logger(__name__)
_GRACE_SECONDS = 1.0
# In the kernel, for one connection: streams of large messages are slower with less. A client that
# reads nothing does not answer pings either, and is gone soon.
_UNSENT_BYTES = 1 << 20
# How long a drained connection's peer has to hear of it before its new calls are refused.
_NOTICE_SECONDS = 0.2
# How long a closing connection has for what is written already.
_LINGER_SECONDS = 0.5
_DRAIN_PING = 0x6E64
_HEADERS, _MESSAGE = int(Kind.HEADERS), int(Kind.MESSAGE)  # looked up once: there are many
# Clients say the same header block again and again: so many are remembered, if so short.
_MAX_KNOWN, _MAX_KNOWN_BYTES = 256, 1024


@asynccontextmanager
async def h2_server(
    methods: Iterable[Method],
    addresses: Sequence[Listen],
    observer: Observer,
    *,
    max_receive_bytes: int = 4 << 20,
    translate: Translate | None = None,
    keepalive: Keepalive | None = None,
    site: Site | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[list[int]]:
    """Serve `methods`, and `site` to those who do not speak gRPC, while the block runs.

    Yields the bound ports in the order of `addresses`.
    """
    settings = settings or Settings()
    limits = replace(settings.limits, max_message_bytes=max_receive_bytes)
    if keepalive is not None:
        settings = replace(
            settings,
            keepalive_seconds=keepalive.seconds,
            keepalive_timeout_seconds=keepalive.timeout_seconds,
        )
    server = Server(methods, observer, translate, replace(settings, limits=limits), site)
    try:
        yield [server.listen(address) for address in addresses]
    finally:
        await server.stop(_GRACE_SECONDS)


# What a request's headers ask for: the method, the metadata, and seconds until the deadline.
Asked = tuple[Method, Mapping[str, str | bytes], float | None]


class _NoGrpc(Exception):
    """HTTP, but no call: answered with an HTTP status."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Server:
    """All listeners and connections of one process's services."""

    def __init__(
        self,
        methods: Iterable[Method],
        observer: Observer,
        translate: Translate | None,
        settings: Settings,
        site: Site | None = None,
    ) -> None:
        self.methods = {method.path: method for method in methods}
        self.observer = observer
        self.translate = translate
        self.settings = settings
        self.site = site
        self.connections: set[ServerConnection] = set()
        self._undecided: set[Front] = set()
        self._http1: set[HttpConnection] = set()
        self.known: dict[bytes, Asked] = {}
        self._listeners: list[Listener] = []

    def understand(self, block: bytes) -> Asked:
        """Read a request's headers. Raises _NoGrpc, RpcError, BadHeader."""
        headers = decode_block(block)
        if headers.get(":method") != "POST":
            raise _NoGrpc("405")
        if not is_grpc(headers):
            raise _NoGrpc("415")
        method = self.methods.get(headers[":path"])
        if method is None:
            raise RpcError("Method not found!", Code.UNIMPLEMENTED)
        encoding = headers.get("grpc-encoding", "identity")
        if encoding != "identity":
            raise RpcError(f'grpc-encoding "{encoding[:40]}"', Code.UNIMPLEMENTED)
        text = headers.get("grpc-timeout")
        timeout = None if text is None else parse_timeout(text)
        asked = method, MappingProxyType(decode_metadata(headers)), timeout
        # One with a deadline hardly comes twice: clients send what is left of theirs.
        if timeout is None and len(block) <= _MAX_KNOWN_BYTES:
            if len(self.known) >= _MAX_KNOWN:
                self.known.clear()
            self.known[block] = asked
        return asked

    def listen(self, address: Listen) -> int:
        listening = listening_socket(address.host, address.port)
        listener = Listener(
            listening,
            self._accepted,
            _tls(address, ["h2", "http/1.1"] if self.site else ["h2"]),
            handshake_seconds=self.settings.handshake_seconds,
            max_connections=self.settings.max_connections,
            trusting=address.tls is None,
            unsent_bytes=_UNSENT_BYTES,
        )
        self._listeners.append(listener)
        return listener.port

    def press(self) -> None:
        """More waits for clients that do not read: the one with the most of it goes, if need be."""
        unsent = {one: one.session.unsent for one in self.connections if one.stands}
        if sum(unsent.values()) > self.settings.max_unsent_bytes_of_all:
            largest = max(unsent, key=lambda connection: unsent[connection])
            log.warning("too much waits to be read", peer=largest.peer(), bytes=unsent[largest])
            largest.abort()

    def _accepted(self) -> Accepted:
        site = self.site
        if site is None:
            return ServerConnection(self)
        return Front(
            lambda: ServerConnection(self),
            lambda: HttpConnection(site.handler, site.limits, self._http1),
            self.settings.handshake_seconds,
            self._undecided,
        )

    async def stop(self, grace_seconds: float) -> None:
        """No new connections, no new calls; running calls have `grace_seconds` to end."""
        await asyncio.gather(*(listener.stop(grace_seconds) for listener in self._listeners))
        for undecided in list(self._undecided):
            undecided.abort()
        async with asyncio.TaskGroup() as both:
            both.create_task(end_all(self._http1, grace_seconds), name="stop http/1.1")
            both.create_task(self._stop_calls(grace_seconds), name="stop http/2")

    async def _stop_calls(self, grace_seconds: float) -> None:
        open_ = list(self.connections)
        for connection in open_:
            connection.drain()
        closed = [connection.closed for connection in open_]
        if closed:
            await asyncio.wait(closed, timeout=grace_seconds)
        tasks = [task for connection in self.connections for task in connection.stop_calls()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        for connection in list(self.connections):
            connection.retire()  # with what is written: their calls' statuses
        if self.connections:
            await asyncio.wait(
                [connection.closed for connection in self.connections], timeout=_LINGER_SECONDS
            )
        for connection in list(self.connections):
            connection.abort()
        await asyncio.gather(*closed)


def _tls(address: Listen, protocols: list[str]) -> ssl.SSLContext | None:
    if address.tls is None:
        return None
    context = server_context(address.tls, require_client_cert=address.client_auth)
    context.set_alpn_protocols(protocols)
    return context


class ServerConnection(Connection):
    def __init__(self, server: Server) -> None:
        super().__init__(server.settings, server=True)
        self._server = server
        self._calls: dict[int, ServerCall | PageCall] = {}
        self.page_bytes = 0
        self._draining = False

    # What its calls ask for (`calls.Owner`).

    @property
    def observer(self) -> Observer:
        return self._server.observer

    @property
    def translate(self) -> Translate | None:
        return self._server.translate

    def press(self) -> None:
        self._server.press()

    def forget(self, call: ServerCall | PageCall) -> None:
        self._calls.pop(call.stream, None)
        if self._draining and not self._calls:
            self.flush_soon()

    # -- Connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Only now: of a failed TLS handshake a protocol hears nothing at all.
        self._server.connections.add(self)
        super().connection_made(transport)

    def calls(self) -> int:
        return len(self._calls)

    def on_event(self, event: Event) -> None:
        kind, ends, stream, code, data = event
        if kind == _HEADERS:
            self._open(stream, data, bool(ends))
            return
        call = self._calls.get(stream)
        if call is None:  # most streams' CLOSED: their call has answered
            if kind == Kind.PONG and code == _DRAIN_PING:
                self._refuse_more()
        elif kind == _MESSAGE:
            call.message(data)
        elif kind in (Kind.END, Kind.TRAILERS):
            call.end()
        elif kind == Kind.CLOSED:
            call.gone()
        elif kind == Kind.DRAINED:
            call.drained()
        elif kind == Kind.REFUSED:
            call.fail(refusal(code))

    def on_lost(self, reason: str) -> None:
        self._server.connections.discard(self)
        for call in list(self._calls.values()):
            call.gone()

    # -- calls

    def _open(self, stream: int, block: bytes, ends: bool) -> None:
        asked = self._server.known.get(block)
        if asked is None:
            try:
                asked = self._server.understand(block)
            except _NoGrpc as error:
                self._no_call(stream, block, error.status, ends=ends)
                return
            except RpcError as error:
                self._refuse(stream, error)
                return
            except BadHeader as error:
                self._refuse(stream, RpcError(f"bad header: {error}", Code.INTERNAL))
                return
        method, metadata, timeout = asked
        call = self._calls[stream] = ServerCall(self, self, stream, method, metadata, timeout)
        self.busy()
        if ends:
            call.end()

    def _refuse(self, stream: int, error: RpcError) -> None:
        fields = [
            (":status", "200"),
            ("content-type", "application/grpc"),
            *status_fields(error.code, error.message),
            ("grpc-accept-encoding", "identity"),
        ]
        self.session.headers(stream, encode_block(fields), end=True)

    def _no_call(self, stream: int, block: bytes, status: str, *, ends: bool) -> None:
        """A page's request, if there are pages; the shim frames what is not said to be gRPC."""
        headers, site = decode_block(block), self._server.site
        if site is None or is_grpc(headers):
            self._refuse_http(stream, status)
            return
        page = self._calls[stream] = PageCall(self, self, stream, headers, site)
        self.busy()
        if ends:
            page.end()

    def _refuse_http(self, stream: int, status: str) -> None:
        fields = [(":status", status), ("grpc-status", str(int(Code.INTERNAL)))]
        self.session.headers(stream, encode_block(fields), end=True)

    # -- the end

    def drain(self) -> None:
        """Tell the client first; refuse what it opens later; close after the last call.

        The order of RFC 9113 6.8: calls that are on the wire while it hears of it are served.
        """
        if self._draining:
            return
        self._draining = True
        self.session.notice()
        self.session.ping(_DRAIN_PING)
        self.loop.call_later(_NOTICE_SECONDS, self._refuse_more)
        self.flush()

    def _refuse_more(self) -> None:
        if self._draining:
            self.session.goaway()
            self.flush()

    def stop_calls(self) -> list[asyncio.Task[None]]:
        tasks = [call.task for call in self._calls.values() if call.task is not None]
        for call in list(self._calls.values()):
            call.fail(RpcError("the server is stopping", Code.UNAVAILABLE))
        self.flush()
        return tasks
