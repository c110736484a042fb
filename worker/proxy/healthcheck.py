"""The health check ports of load-balanced Services with externalTrafficPolicy Local.

A balancer asks `http://NODE:healthCheckNodePort/` and sends traffic only to nodes that answer
200: those with an endpoint of the service. What to serve is pure; `HealthChecks` serves it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Self

from aiohttp import web

from muster.component.log import get_logger
from muster.component.metrics import serve_app
from worker.proxy.health import Health
from worker.proxy.ruleset import RenderedService
from worker.proxy.syncer import Syncer

log = get_logger(__name__)
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """One port to answer on, and for whom."""

    port: int
    namespace: str
    service: str


def checks_of(services: Mapping[str, RenderedService]) -> dict[Check, int]:
    """The number of local endpoints per health check port."""
    counts: dict[Check, int] = {}
    for service in services.values():
        for port, target in zip(service.ports, service.targets, strict=True):
            if port.health_check_node_port and port.external_local:
                check = Check(port.health_check_node_port, port.namespace, port.service)
                # A pod counts once, whatever the number of ports.
                counts[check] = max(counts.get(check, 0), len(target.local))
    return counts


def answer(check: Check, local: int, proxy_healthy: bool) -> tuple[int, dict[str, object]]:
    body: dict[str, object] = {
        "service": {"namespace": check.namespace, "name": check.service},
        "localEndpoints": local,
        "serviceProxyHealthy": proxy_healthy,
    }
    return (200 if local and proxy_healthy else 503), body


class HealthChecks:
    """Opens and closes the ports after each sync."""

    def __init__(self, host: str, syncer: Syncer, health: Health) -> None:
        self._host = host
        self._syncer = syncer
        self._health = health
        self._open: dict[Check, AsyncExitStack] = {}

    @classmethod
    @asynccontextmanager
    async def serving(cls, host: str, syncer: Syncer, health: Health) -> AsyncIterator[Self]:
        checks = cls(host, syncer, health)
        try:
            yield checks
        finally:
            for stack in checks._open.values():
                await stack.aclose()

    async def run(self) -> None:
        """Follow the syncer until cancelled; a port that is taken is tried again."""
        while True:
            try:
                async with asyncio.timeout(RETRY_SECONDS if self._missing() else None):
                    await self._syncer.wait_synced_again()
            except TimeoutError:
                pass
            await self._reconcile()

    def _missing(self) -> bool:
        return bool(checks_of(self._syncer.rendered).keys() - self._open.keys())

    async def _reconcile(self) -> None:
        wanted = checks_of(self._syncer.rendered)
        for check in self._open.keys() - wanted.keys():
            await self._open.pop(check).aclose()
        for check in wanted.keys() - self._open.keys():
            await self._start(check)

    async def _start(self, check: Check) -> None:
        async def handle(_: web.Request) -> web.Response:
            local = checks_of(self._syncer.rendered).get(check, 0)
            status, body = answer(check, local, self._health.healthy(time.time()))
            return web.Response(
                status=status, text=json.dumps(body), content_type="application/json"
            )

        app = web.Application()
        app.router.add_get("/{path:.*}", handle)
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(serve_app(app, self._host, check.port, None))
        except OSError as error:
            log.warning("health check port not served", port=check.port, error=str(error))
            return
        self._open[check] = stack
