"""Accepts connections, so many and no more: what comes on top is closed before it costs anything.

asyncio's own server tells nobody of connections whose TLS handshake is still going on; a cap that
is to hold against a flood has to count those too.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from muster.component.log import get_logger

log = get_logger(__name__)

_BACKLOG = 1024
_BATCH = 64  # accepted in one turn of the loop
_PAUSE_SECONDS = 1.0
_OWN_FILES = 256
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Accepted(asyncio.Protocol):
    """Says when its connection is over."""

    closed: asyncio.Future[None]


class Listener:
    """One listening socket."""

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[], Accepted],
        tls: ssl.SSLContext | None,
        *,
        handshake_seconds: float = 10.0,
        max_connections: int = 5000,
    ) -> None:
        self._socket = listening
        self._make = make
        self._tls = tls
        self._handshake_seconds = handshake_seconds if tls else None
        self._loop = asyncio.get_running_loop()
        self._greeting: set[asyncio.Task[None]] = set()
        self._full = False
        self._closed = False
        self._cap = min(max_connections, _affordable())
        self.open = 0
        self._loop.add_reader(listening, self._accept)

    @property
    def port(self) -> int:
        name = self._socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def close(self) -> None:
        """No new ones; handshakes that are going on are cut off."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket)
        path = self._socket.getsockname() if self._socket.family == socket.AF_UNIX else ""
        self._socket.close()
        if path:
            Path(path).unlink(missing_ok=True)
        for task in self._greeting:
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._greeting, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_BATCH):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._pause(error)
                return
            if self.open >= self._cap:
                accepted.close()
                self._say_full()
                continue
            self.open += 1
            task = self._loop.create_task(self._greet(accepted), name="greet")
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    def _pause(self, error: OSError) -> None:
        """Out of descriptors: the backlog waits until some are free again."""
        log.error("cannot accept connections", error=str(error))
        self._loop.remove_reader(self._socket)
        self._loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket, self._accept)

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            log.warning("too many connections, refusing more", cap=self._cap)

    async def _greet(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        connection = self._make()
        stands = False
        try:
            with suppress(OSError):  # a unix socket has no such option
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds,
            )
            stands = True
        except (OSError, EOFError):  # also ssl.SSLError and the handshake's timeout
            accepted.close()
        finally:
            if stands:
                connection.closed.add_done_callback(lambda _: self._gone())
            else:
                self._gone()

    def _gone(self) -> None:
        self.open -= 1
        if self._full and self.open < self._cap * 9 // 10:
            self._full = False


def _affordable() -> int:
    """Connections shall not take the descriptors that the process needs for its files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(limit - _OWN_FILES, limit // 2) if limit != resource.RLIM_INFINITY else 1 << 30


def listening_socket(host: str, port: int) -> socket.socket:
    """Bound and listening. A `host` of "unix:/PATH" replaces a socket that nobody serves."""
    if host.startswith("unix:"):
        return _unix_socket(Path(host.removeprefix("unix:")))
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # The wildcard serves both, as Go's listeners do; an address only itself.
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
    return _bound(listening, address)


def _unix_socket(path: Path) -> socket.socket:
    if path.is_socket():
        path.unlink()
    return _bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path))


def _bound(listening: socket.socket, address: Any) -> socket.socket:
    try:
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening
