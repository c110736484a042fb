"""For the processes whose port is an aiohttp application: the same health pages, and serving it.

Who serves metrics and health alone does without aiohttp (`metrics.metrics_server`): it is large.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from weakref import WeakSet

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, generate_latest

from kube.component.metrics import Check, health_text
from kube.component.slis import Slis
from kube.component.webhandler import Heads, WebHandler, WebLimits
from kube.http.listener import Listener, listening_socket

_GRACE_SECONDS = 2.0
_LAST_SECONDS = 0.5  # for who has used up the grace: to be told
# Of one port, if nobody says more: probes, scrapers, the api-servers.
_MAX_CONNECTIONS = 500


def add_routes(app: web.Application, checks: Mapping[str, Check]) -> None:
    """`metrics.pages` as routes of `app`."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    async def health(request: web.Request) -> web.Response:
        return health_response(checks, verbose="verbose" in request.query)

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    slis = Slis()

    async def slis_page(_: web.Request) -> web.Response:
        return web.Response(
            body=slis.page(checks), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/metrics/slis", slis_page)
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", health)
    app.router.add_get("/healthz", health)


def health_response(checks: Mapping[str, Check], *, verbose: bool) -> web.Response:
    status, body = health_text(checks, verbose=verbose)
    return web.Response(status=status, text=body)


@asynccontextmanager
async def serve_app(
    app: web.Application,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    *,
    max_connections: int = _MAX_CONNECTIONS,
    limits: WebLimits | None = None,
) -> AsyncIterator[int]:
    """Serve an aiohttp application while the block runs; yields the bound port."""
    limits = limits or WebLimits()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_SECONDS)
    await runner.setup()
    server = runner.server
    assert server is not None
    heads, handlers = Heads(limits), WeakSet[WebHandler]()

    def make() -> WebHandler:
        handlers.add(handler := WebHandler(server, heads))
        return handler

    try:
        listener = Listener(
            listening_socket(host, port), make, tls,
            max_connections=max_connections, stall_seconds=limits.stall_seconds,
        )  # fmt: skip
        try:
            yield listener.port
        finally:
            await listener.stop(_GRACE_SECONDS)
            await _drained(handlers)
    finally:
        await runner.cleanup()


async def _drained(handlers: Iterable[WebHandler]) -> None:
    """Answers that are being made, and who has just come, have a moment."""
    for handler in (open_ := [one for one in handlers if one.transport is not None]):
        handler.drain()
    if open_:
        await asyncio.wait([one.closed for one in open_], timeout=_GRACE_SECONDS)
