"""Notices that the other end of a connection is gone also while nothing is read from it.

Who waits for a slow receiver reads no more from the sender, and so sees neither its end nor the
answer to a heartbeat. The kernel knows: it is asked now and then. And where the sender has gone
with a full pipe, its end cannot even arrive: only what is sent to it is answered with a reset.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

_LOOK_SECONDS = 1.0
_LOOKS_A_PING = 5
# A machine that is gone says nothing; the kernel asks it, and gives up after about a minute.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


async def until_gone(
    transport: asyncio.BaseTransport | None, ping: Callable[[], Awaitable[None]]
) -> None:
    """Returns when the peer has closed its side, or the connection is closing here.

    `ping` sends something that the peer need not answer.
    """
    if transport is None or transport.is_closing():
        return
    found: Any = transport.get_extra_info("socket")
    if found is None:  # then nothing can be known
        await asyncio.Event().wait()
    _keep_alive(found)
    poller = select.poll()
    poller.register(found.fileno(), select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    looks = 0
    while not transport.is_closing() and not poller.poll(0):
        await asyncio.sleep(_LOOK_SECONDS)
        looks += 1
        if looks % _LOOKS_A_PING == 0:
            await _try(ping)


async def _try(ping: Callable[[], Awaitable[None]]) -> None:
    """One that reads nothing holds the ping up, and is not gone for that."""
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await ping()


def _keep_alive(found: Any) -> None:
    if found.family in (socket.AF_INET, socket.AF_INET6):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            found.setsockopt(socket.IPPROTO_TCP, option, value)
