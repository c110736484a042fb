"""Which kinds the api-server has, kept fresh: for those who work on objects of every kind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing

from kube.client.client import Client, ServedKind
from kube.client.informer import Backoff
from kube.component.log import get_logger
from kube.machinery.errors import StatusError
from kube.machinery.scheme import Resource

log = get_logger(__name__)


class Kinds:
    """Custom kinds are among them as soon as they are served."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._served: tuple[ServedKind, ...] = ()
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._known = asyncio.Event()
        self._followers: list[Callable[[], None]] = []

    @property
    def stored(self) -> tuple[Resource, ...]:
        """One version of each kind, so that no object is met twice."""
        return tuple(kind.resource for kind in self._served if kind.stored)

    def find(self, api_version: str, kind: str) -> Resource | None:
        return self._by_kind.get((api_version, kind))

    def on_change(self, follow: Callable[[], None]) -> None:
        """Call when the kinds are first known and whenever they changed."""
        self._followers.append(follow)
        if self._known.is_set():
            follow()

    async def wait_known(self) -> None:
        await self._known.wait()

    async def run(self) -> None:
        """Follow the server until cancelled."""
        backoff = Backoff(random.Random())  # noqa: S311 - jitter needs no secrecy
        while True:
            try:
                async with aclosing(self._client.discover()) as changes:
                    async for served in changes:
                        backoff.reset()
                        self._set(served)
            except StatusError as error:
                log.debug("kinds not known", error=str(error))
            await asyncio.sleep(backoff.delay())

    def _set(self, served: tuple[ServedKind, ...]) -> None:
        if served == self._served:
            return
        self._served = served
        self._by_kind = {(k.resource.api_version, k.resource.kind): k.resource for k in served}
        self._known.set()
        for follow in self._followers:
            follow()
