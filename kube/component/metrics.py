"""The `/metrics` and health port of a process, and the metrics that all processes share.

Upstream's names are used where upstream has one, so stock dashboards and alerts read ours.
"""

from __future__ import annotations

import asyncio
import platform
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    REGISTRY,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kube.component.access import Access, guarded
from kube.component.slis import Slis
from kube.component.version import GIT_VERSION, MAJOR, MINOR
from kube.http.messages import Handler, Pages, Request, Response, text
from kube.http.server import http_server

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
# Upstream has no series of when each counter was made, and they are one in fifteen of ours.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here


async def metrics_page(_: Request) -> Response:
    return Response(
        headers=(("Content-Type", CONTENT_TYPE_PLAIN_0_0_4),), body=generate_latest(REGISTRY)
    )


def pages(checks: Mapping[str, Check]) -> dict[str, Handler]:
    """`/metrics`, `/metrics/slis`, `/healthz`, `/livez` and `/readyz`.

    `checks` decide `/readyz` and `/healthz`; `/livez` only says that the loop turns.
    """

    async def health(request: Request) -> Response:
        status, body = health_text(checks, verbose="verbose" in request.query)
        return text(body, status)

    async def livez(_: Request) -> Response:
        return text("ok")

    slis = Slis()

    async def slis_page(_: Request) -> Response:
        return Response(
            headers=(("Content-Type", CONTENT_TYPE_PLAIN_0_0_4),), body=slis.page(checks)
        )

    return {
        "/metrics": metrics_page,
        "/metrics/slis": slis_page,
        "/livez": livez,
        "/readyz": health,
        "/healthz": health,
    }


def health_text(checks: Mapping[str, Check], *, verbose: bool) -> tuple[int, str]:
    """Upstream's text form: `ok`, or one `[+]name ok` / `[-]name failed` line per check."""
    results = {name: check() for name, check in checks.items()}
    failed = any(results.values())
    if not failed and not verbose:
        return 200, "ok"
    lines = [
        f"[-]{name} failed: {why}" if why else f"[+]{name} ok" for name, why in results.items()
    ]
    lines.append("healthz check failed" if failed else "healthz check passed")
    return (500 if failed else 200), "\n".join(lines) + "\n"


def metrics_server(
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    checks: Mapping[str, Check] | None = None,
    access: Access | None = None,
) -> AbstractAsyncContextManager[int]:
    """Serve the metrics and health pages while the block runs; yields the bound port.

    `access` says who may read them. Without TLS (tests, on loopback) nobody can be told apart.
    """
    handler: Handler = Pages(pages(checks or {}))
    if access is not None and tls is not None:
        handler = guarded(handler, access)
    return http_server(handler, host, port, tls)
