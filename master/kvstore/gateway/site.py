"""The paths of the client port (etcd 3.4: embed/serve.go, etcdhttp/base.go)."""

from __future__ import annotations

from dataclasses import replace

from master.kvstore.gateway.health import Health
from master.kvstore.node import Node
from muster.component.metrics import metrics_page
from muster.component.version import ETCD_CLUSTER_VERSION, ETCD_VERSION
from muster.http.messages import Request, Response, failure, json_page

# etcd lets pages of any origin ask (--cors=*).
_CORS = (
    ("Access-Control-Allow-Headers", "accept, content-type, authorization"),
    ("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("Access-Control-Allow-Origin", "*"),
)


class ClientSite:
    def __init__(self, node: Node) -> None:
        self._health = Health(node)

    async def __call__(self, request: Request) -> Response:
        response = await self._answer(request)
        return replace(response, headers=(*_CORS, *response.headers))

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response()
        match request.path:
            case "/health":
                return await self._health(request)
            case "/version":
                return _version(request)
            case "/metrics":
                return await metrics_page(request)
        return failure(404, "404 page not found")


def _version(request: Request) -> Response:
    if request.method != "GET":
        return failure(405, None, ("Allow", "GET"))
    return json_page({"etcdserver": ETCD_VERSION, "etcdcluster": ETCD_CLUSTER_VERSION})
