"""Serves pages over HTTP/1.1, in a few lines and a few hundred kilobytes.

async with http_server(Pages({"/healthz": healthz}), "127.0.0.1", 0, tls) as port: ...
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kube.http.connection import HttpConnection, Limits
from kube.http.listener import Listener, listening_socket
from kube.http.messages import Handler

_GRACE_SECONDS = 2.0
# Of one port. Pages are for probes and scrapers: there are few of those.
_MAX_CONNECTIONS = 500


@asynccontextmanager
async def http_server(
    handler: Handler,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    limits: Limits | None = None,
) -> AsyncIterator[int]:
    """Serve `handler` while the block runs; yields the bound port."""
    limits = limits or Limits()
    known: set[HttpConnection] = set()
    listener = Listener(
        listening_socket(host, port),
        lambda: HttpConnection(handler, limits, known),
        tls,
        max_connections=_MAX_CONNECTIONS,
    )
    try:
        yield listener.port
    finally:
        await listener.stop(_GRACE_SECONDS)
        await end_all(known, _GRACE_SECONDS)


async def end_all(known: set[HttpConnection], grace_seconds: float) -> None:
    """Answers that are being made have `grace_seconds`."""
    for connection in list(known):
        connection.drain()
    closed = [connection.closed for connection in known]
    if closed:
        await asyncio.wait(closed, timeout=grace_seconds)
    for connection in list(known):
        connection.abort()
    await asyncio.gather(*closed)
