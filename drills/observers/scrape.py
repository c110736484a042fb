"""Metrics of the lab's processes, read as its Prometheus would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from kube.component.tls import TlsFiles, client_context

SECONDS = 1.0
Scrape = Callable[[], Awaitable[str]]


@asynccontextmanager
async def scraping(identity: TlsFiles, url: str) -> AsyncIterator[Scrape]:
    """A function that gives the page at `url`; it may raise aiohttp's errors and TimeoutError."""
    context = client_context(identity)
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def scrape() -> str:
            async with session.get(url, ssl=context) as response:
                return await response.text()

        yield scrape


def sample(exposition: str, metric: str) -> float | None:
    """The value of an unlabelled (or the first labelled) sample in Prometheus text."""
    for line in exposition.splitlines():
        if line.startswith(metric) and line[len(metric) :][:1] in (" ", "{"):
            return float(line.rsplit(" ", 1)[1])
    return None
