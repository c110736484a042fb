"""The `/metrics` and health port of a process, and the metrics that all processes share.

Upstream's names are used where upstream has one, so stock dashboards and alerts read ours.
"""

from __future__ import annotations

import asyncio
import platform
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from muster.component.version import GIT_VERSION, MAJOR, MINOR

# A named check: returns None when well, else what is wrong in a few words.
Check = Callable[[], str | None]


class _ProcessCollector(Collector):
    """`go_goroutines` (a panel of every upstream dashboard) and `kubernetes_build_info`."""

    def collect(self) -> Iterable[Metric]:
        try:
            tasks = len(asyncio.all_tasks())
        except RuntimeError:  # scraped from outside the loop
            tasks = 0
        yield GaugeMetricFamily(
            "go_goroutines",
            "asyncio tasks plus threads: what a goroutine is to a Go process.",
            value=tasks + threading.active_count(),
        )
        build = GaugeMetricFamily(
            "kubernetes_build_info",
            "Constant 1, labelled with the version this process follows.",
            labels=["major", "minor", "git_version", "git_commit", "platform"],
        )
        build.add_metric(
            [MAJOR, MINOR, GIT_VERSION, "", f"linux/{platform.machine()}"],
            1,
        )
        yield build


REGISTRY.register(_ProcessCollector())


def add_routes(app: web.Application, checks: Mapping[str, Check]) -> None:
    """Serve `/metrics`, `/healthz`, `/livez` and `/readyz` from `app`.

    `checks` decide `/readyz` and `/healthz`; `/livez` only says that the loop turns.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST}
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
    """Upstream's text form: `ok`, or one `[+]name ok` / `[-]name failed` line per check."""
    results = {name: check() for name, check in checks.items()}
    failed = any(results.values())
    if not failed and not verbose:
        return web.Response(text="ok")
    lines = [
        f"[-]{name} failed: {why}" if why else f"[+]{name} ok" for name, why in results.items()
    ]
    lines.append("healthz check failed" if failed else "healthz check passed")
    return web.Response(status=500 if failed else 200, text="\n".join(lines) + "\n")


@asynccontextmanager
async def metrics_server(
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    checks: Mapping[str, Check] | None = None,
) -> AsyncIterator[int]:
    """Serve the metrics and health routes while the block runs; yields the bound port."""
    app = web.Application()
    add_routes(app, checks or {})
    async with serve_app(app, host, port, tls) as bound:
        yield bound


@asynccontextmanager
async def serve_app(
    app: web.Application, host: str, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[int]:
    """Serve an aiohttp application while the block runs; yields the bound port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls, reuse_address=True)
        await site.start()
        addresses = runner.addresses
        yield int(addresses[0][1])
    finally:
        await runner.cleanup()
