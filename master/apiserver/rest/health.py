"""/healthz, /livez, /readyz, /metrics and /metrics/slis of the api-server."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from kube.component.metrics import Check
from kube.component.slis import Slis
from kube.component.webapp import health_response
from master.apiserver import metrics
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.cache.cacher import Cacher
from master.apiserver.etcd3.errors import StoreError
from master.apiserver.etcd3.store import Store
from master.apiserver.extensions.definitions import Definitions

# The store must answer within this (apiserver etcd3 health check).
PROBE_SECONDS = 2.0


class HealthHandlers:
    def __init__(
        self, store: Store, cacher: Cacher, authorizer: Authorizer, definitions: Definitions
    ) -> None:
        self._store = store
        self._authorizer = authorizer
        self._cacher = cacher
        self._definitions = definitions
        self._slis = Slis()
        self.stopping = False

    async def handle(self, request: web.Request, which: str) -> web.Response:
        verbose = "verbose" in request.query
        if which == "livez":
            return health_response({"ping": lambda: None}, verbose=verbose)
        return health_response(await self._checks(), verbose=verbose)

    async def slis(self) -> web.Response:
        return web.Response(
            body=self._slis.page(await self._checks()),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    async def _checks(self) -> dict[str, Check]:
        failed = await self._probe()
        return {
            "ping": lambda: None,
            "etcd": lambda: failed,
            "informer-sync": lambda: None if self._cacher.synced.is_set() else "cache not filled",
            "crd-informer-sync": lambda: (
                None if self._definitions.synced.is_set() else "custom resources not served"
            ),
            "poststarthook/rbac/bootstrap-roles": lambda: (
                None if self._authorizer.ready else "not finished"
            ),
            "shutdown": lambda: "process is shutting down" if self.stopping else None,
        }

    async def _probe(self) -> str | None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._store.revision(total_seconds=PROBE_SECONDS)
        except (StoreError, TimeoutError) as error:
            return f"etcd is not reachable: {error}"
        return None

    def metrics(self) -> web.Response:
        for kind in self._cacher.registry.stored:
            resource = kind.resource
            name = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            metrics.objects.labels(name).set(len(self._cacher[kind]))
        return web.Response(
            body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
