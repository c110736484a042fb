"""Accepts connections, so many and no more. All servers of this project listen through it.

asyncio's own server tells nobody of connections whose TLS handshake is still going on; a cap that
is to hold against a flood has to count those too, and to choose whom it turns away (`guests`).
A client of a TLS port that has not said anything yet costs its descriptor and no more.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from kube.component.log import get_logger
from kube.component.openfiles import affordable_connections
from kube.http.guests import Guest, Guests, Places, Standing
from kube.http.queue import admit_no_more
from kube.http.servertls import ReadBuffer
from kube.http.visit import Accepted, Visit

__all__ = ["Accepted", "Listener", "listening_socket"]

log = get_logger(__name__)

_BACKLOG = 1024
_BATCH = 64  # accepted in one turn of the loop
_PAUSE_SECONDS = 1.0
# For handshakes of the network that are on their way when the queue is emptied for the last time.
_LAST_SECONDS = 0.05
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """One listening socket.

    `trusting`: whoever may connect is as good as one with a certificate (a socket of root's; plain
    text in tests). `stall_seconds`: a TLS client that takes nothing of what waits for it for so
    long is cut; None leaves that to its protocol. `unsent_bytes` may wait in the kernel for one
    that does not read.
    """

    everywhere: ClassVar[int] = 0  # connections of all listeners of this process

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[], Accepted],
        tls: ssl.SSLContext | None,
        *,
        handshake_seconds: float = 10.0,
        max_connections: int = 5000,
        trusting: bool = False,
        stall_seconds: float | None = None,
        unsent_bytes: int = 128 << 10,
    ) -> None:
        self._socket = listening
        self.make = make
        self.tls = tls
        self.handshake_seconds = handshake_seconds
        self.stall_seconds = stall_seconds
        self.unsent_bytes = unsent_bytes
        self.buffer = ReadBuffer()
        self._trusting = trusting or listening.family == socket.AF_UNIX
        self._loop = asyncio.get_running_loop()
        self._affordable = affordable_connections()
        self._cap = min(max_connections, self._affordable)
        self.guests = Guests(Places.of(self._cap, tls=tls is not None))
        self._visits: set[Visit] = set()
        self._full = False
        self._stopping = False
        self._loop.add_reader(listening, self._accept)

    @property
    def port(self) -> int:
        name = self._socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    # -- the end

    async def stop(self, seconds: float) -> None:
        """No new connections; those that wait to be accepted are, and all that are accepted have
        `seconds` to end their handshake."""
        if self._stopping:
            return
        self._stopping = True
        self._loop.remove_reader(self._socket)
        path = self._socket.getsockname() if self._socket.family == socket.AF_UNIX else ""
        if path:
            Path(path).unlink(missing_ok=True)
        else:
            admit_no_more(self._socket)
        self._empty_queue()
        await asyncio.sleep(_LAST_SECONDS)
        self._empty_queue()
        self._socket.close()
        await self._greeted(seconds)

    def _empty_queue(self) -> None:
        with suppress(OSError):
            while self._accept_one():
                pass

    async def _greeted(self, seconds: float) -> None:
        greeting = [visit.greeted for visit in self._visits if not visit.greeted.done()]
        if greeting:
            await asyncio.wait(greeting, timeout=seconds)
        for visit in list(self._visits):
            if not visit.greeted.done():
                visit.cut()

    # -- accepting

    def _accept(self) -> None:
        try:
            for _ in range(_BATCH):
                if not self._accept_one():
                    return
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._pause(error)

    def _accept_one(self) -> bool:
        """Whether there was one."""
        try:
            accepted, peer = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        accepted.setblocking(False)
        visit = Visit(self, accepted)
        visit.guest = Guest(_address(peer), visit.cut)
        if self.tls is None:
            visit.guest.standing = self.standing(shown_certificate=False)
        room = Listener.everywhere < self._affordable
        if not self.guests.arrive(visit.guest, room=room):
            accepted.close()
            self._say_full()
            return True
        Listener.everywhere += 1
        self._visits.add(visit)
        visit.begin()
        return True

    def _pause(self, error: OSError) -> None:
        """Out of descriptors: the backlog waits until some are free again."""
        log.error("cannot accept connections", error=str(error))
        self._loop.remove_reader(self._socket)
        self._loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if not self._stopping:
            self._loop.add_reader(self._socket, self._accept)

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            log.warning("too many connections, refusing more", cap=self._cap)

    # -- what a visit tells

    def standing(self, *, shown_certificate: bool) -> Standing:
        return Standing.KNOWN if shown_certificate or self._trusting else Standing.ANONYMOUS

    def risen(self, guest: Guest, standing: Standing) -> None:
        self.guests.rise(guest, standing)

    def gone(self, visit: Visit) -> None:
        if visit not in self._visits:
            return
        self._visits.discard(visit)
        self.guests.leave(visit.guest)
        Listener.everywhere -= 1
        if self._full and len(self.guests) < self._cap * 9 // 10:
            self._full = False


def _address(peer: Any) -> str:
    return str(peer[0]) if isinstance(peer, tuple) else ""


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
