"""pods/log, exec and attach: the api-server as a proxy to the pod's kubelet."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from master.apiserver import metrics
from master.apiserver.auth.identity import User
from master.apiserver.registry.api import Api
from master.apiserver.registry.options import Target
from master.apiserver.rest.relay import relay_upgrade
from master.apiserver.rest.requestinfo import ResourcePath
from master.apiserver.rest.watch import client_has_gone
from muster.api import scheme
from muster.api.core import Node, Pod
from muster.api.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
)
from muster.api.scheme import resource_for

DEFAULT_PORT = 10250
DIAL_SECONDS = 5.0
IDLE_SECONDS = 10.0
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_LOG_QUERY = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines",
              "limitBytes", "stream", "insecureSkipTLSVerifyBackend")  # fmt: skip
_EXEC_QUERY = ("stdin", "stdout", "stderr", "tty", "command")


@dataclass(frozen=True, slots=True)
class Kubelet:
    """Where a node's kubelet listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"


class KubeletProxy:
    def __init__(self, api: Api, tls: ssl.SSLContext | None) -> None:
        self._api = api
        self._tls = tls

    async def handle(
        self, request: web.Request, path: ResourcePath, user: User
    ) -> web.StreamResponse:
        resource = resource_for(Pod)
        target = Target(resource, path.namespace, path.name, path.subresource)
        pod = await self._authorized_pod(request, user, target)
        container = choose_container(pod, request.query.get("container", ""))
        if self._tls is None:
            raise InternalError("the api-server has no --kubelet-client-certificate")
        with metrics.watching("connect", "", "pods"):
            if path.subresource == "log":
                return await self._log(request, pod, container)
            kubelet = await self._kubelet(pod)
            query = [(k, v) for k, v in request.query.items() if k in _EXEC_QUERY]
            where = (
                f"/{path.subresource}/{path.namespace}/{path.name}/{container}?{urlencode(query)}"
            )
            return await relay_upgrade(request, kubelet.host, kubelet.port, where, self._tls)

    async def _authorized_pod(self, request: web.Request, user: User, target: Target) -> Pod:
        streamed = target.subresource in ("exec", "attach")
        if request.method not in (("GET", "POST") if streamed else ("GET",)):
            raise MethodNotAllowed(
                "the server does not allow this method on the requested resource"
            )
        # Upstream asks for `create` on exec (it was POST alone) and `get` on the WebSocket GET.
        verb = "create" if request.method == "POST" else "get"
        data = await self._api.get_for(user, verb, target)
        return scheme.decode(Pod, data)

    async def _kubelet(self, pod: Pod) -> Kubelet:
        name = pod.spec.node_name
        if not name:
            raise BadRequest(f"pod {pod.metadata.name} does not have a host assigned")
        data = await self._api.read(Target(resource_for(Node), "", name))
        node = scheme.decode(Node, data)
        addresses = {address.type: address.address for address in node.status.addresses}
        host = addresses.get("InternalIP") or addresses.get("Hostname")
        if not host:
            raise NotFound(f'no preferred addresses found for node "{name}"; known addresses: []')
        endpoints = node.status.daemon_endpoints
        port = endpoints.kubelet_endpoint.port if endpoints and endpoints.kubelet_endpoint else 0
        return Kubelet(host, port or DEFAULT_PORT)

    async def _log(self, request: web.Request, pod: Pod, container: str) -> web.StreamResponse:
        if not pod.spec.node_name:
            # Nothing has run yet, so there is nothing to show (upstream answers an empty log).
            return web.Response(body=b"", content_type="text/plain")
        kubelet = await self._kubelet(pod)
        meta = pod.metadata
        query = [(k, v) for k, v in request.query.items() if k in _LOG_QUERY]
        place = f"{meta.namespace}/{meta.name}/{container}"
        url = f"{kubelet.url}/containerLogs/{place}?{urlencode(query)}"
        assert self._tls is not None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=DIAL_SECONDS)
        connector = aiohttp.TCPConnector(ssl=self._tls)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get(url) as answer,
            ):
                return await _copy(request, answer)
        except aiohttp.ClientConnectionError as error:
            # No 503: clients would try again for long before they show the reason.
            raise InternalError(f'Get "{url}": {error}') from error


async def _copy(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """The kubelet's answer, chunk by chunk as it comes."""
    if answer.status >= 400:
        text = (await answer.text()).strip()
        raise (BadRequest if answer.status < 500 else InternalError)(text or answer.reason or "")
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        while not client_has_gone(request):
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    chunk = await answer.content.readany()
            except TimeoutError:
                continue  # a quiet log that is followed
            if not chunk:
                await response.write_eof()
                break
            await response.write(chunk)
    except ConnectionResetError:
        pass  # the client went while we wrote
    return response


def choose_container(pod: Pod, wanted: str) -> str:
    """The container meant; the only or annotated one when none is named. Raises BadRequest."""
    spec = pod.spec
    names = [container.name for container in (*spec.containers, *spec.init_containers)]
    names += [container.name for container in spec.ephemeral_containers]
    meta = pod.metadata
    if wanted:
        if wanted not in names:
            raise BadRequest(f"container {wanted} is not valid for pod {meta.name}")
        return wanted
    default = meta.annotations.get(_DEFAULT_CONTAINER, "")
    if default in names:
        return default
    if len(spec.containers) == 1:
        return spec.containers[0].name
    choices = " ".join(c.name for c in spec.containers)
    inits = " ".join(c.name for c in spec.init_containers)
    also = f" or one of the init containers: [{inits}]" if inits else ""
    raise BadRequest(
        f"a container name must be specified for pod {meta.name}, choose one of: [{choices}]{also}"
    )
