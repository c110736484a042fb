"""The paths of the client port (etcd 3.4: embed/serve.go, etcdhttp/base.go)."""

from __future__ import annotations

from dataclasses import replace

from kube.component.metrics import metrics_page
from kube.component.version import ETCD_CLUSTER_VERSION, ETCD_VERSION
from kube.http.messages import Handler, Request, Response, failure, json_page
from master.kvstore.gateway.health import Health
from master.kvstore.node import Node
from master.kvstore.services.common import common_name

# etcd lets pages of any origin ask (--cors=*).
_CORS = (
    ("Access-Control-Allow-Headers", "accept, content-type, authorization"),
    ("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("Access-Control-Allow-Origin", "*"),
)
# What etcd 3.3 called it, and 3.4 still knows.
_OLD, _NEW = "/v3beta/", "/v3/"
_IGNORED = (
    "CommonName of client sending a request against gateway will be ignored and not used as "
    "expected"
)


class ClientSite:
    def __init__(self, node: Node, gateway: Handler) -> None:
        self._node = node
        self._health = Health(node)
        self._gateway = gateway

    async def __call__(self, request: Request) -> Response:
        if request.path.startswith(_OLD):
            request = replace(request, path=request.path.replace(_OLD, _NEW, 1))
        if request.path.startswith(_NEW) and self._would_be_nobody(request):
            return failure(400, _IGNORED)
        response = await self._answer(request)
        return replace(response, headers=(*_CORS, *response.headers))

    def _would_be_nobody(self, request: Request) -> bool:
        """A certificate that names a user names nobody here; better to say so than to surprise."""
        node = self._node
        if not (node.auth.enabled and node.trusts_certificates):
            return False
        certificate = request.peer_certificate()
        return certificate is not None and bool(common_name(certificate))

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response()
        if request.path.startswith(_NEW):
            return await self._gateway(request)
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
