"""For the processes whose port is an aiohttp application: the same health pages, and serving it.

Who serves metrics and health alone does without aiohttp (`metrics.metrics_server`): it is large.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, REGISTRY, generate_latest

from muster.component.metrics import Check, health_text


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

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", health)
    app.router.add_get("/healthz", health)


def health_response(checks: Mapping[str, Check], *, verbose: bool) -> web.Response:
    status, body = health_text(checks, verbose=verbose)
    return web.Response(status=status, text=body)


@asynccontextmanager
async def serve_app(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[int]:
    """Serve an aiohttp application while the block runs; yields the bound port."""
    # Compressed bodies are left as they come: who reads them bounds what they become.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0, auto_decompress=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls, reuse_address=True)
        await site.start()
        addresses = runner.addresses
        yield int(addresses[0][1])
    finally:
        await runner.cleanup()
