"""The plain HTTP ports: `/healthz` and `/livez`, and one port per load-balanced Service with
externalTrafficPolicy Local. `health` decides what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Self

from prometheus_client import Counter

from kube.component.log import get_logger
from kube.http.messages import Pages, Request, Response, failure, json_page
from kube.http.server import http_server
from worker.proxy.health import Check, Health, answer, checks_of
from worker.proxy.metrics import HEALTHZ, LIVEZ
from worker.proxy.syncer import Syncer

log = get_logger(__name__)
RETRY_SECONDS = 1.0


def health_pages(health: Health, clock: Callable[[], float]) -> Pages:
    def respond(well: bool, counter: Counter) -> Response:
        code = 200 if well else 503
        counter.labels(code=str(code)).inc()
        nosniff = ("X-Content-Type-Options", "nosniff")
        answer = json_page(health.report(clock()), code)
        return replace(answer, headers=(*answer.headers, nosniff))

    async def healthz(_: Request) -> Response:
        return respond(health.healthy(clock()) and health.node_eligible, HEALTHZ)

    async def livez(_: Request) -> Response:
        return respond(health.healthy(clock()), LIVEZ)

    return Pages({"/healthz": healthz, "/livez": livez})


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
            await asyncio.gather(*(stack.aclose() for stack in checks._open.values()))

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
        # All at once: a client that has connected there has a moment to ask.
        gone = [self._open.pop(check) for check in self._open.keys() - wanted.keys()]
        await asyncio.gather(*(stack.aclose() for stack in gone))
        for check in wanted.keys() - self._open.keys():
            await self._start(check)

    async def _start(self, check: Check) -> None:
        async def handle(request: Request) -> Response:
            if request.method not in ("GET", "HEAD"):
                return failure(405, None, ("Allow", "GET"))
            local = checks_of(self._syncer.rendered).get(check, 0)
            status, body = answer(check, local, self._health.healthy(time.time()))
            return json_page(body, status)

        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(http_server(handle, self._host, check.port, None))
        except OSError as error:
            log.warning("health check port not served", port=check.port, error=str(error))
            return
        self._open[check] = stack
