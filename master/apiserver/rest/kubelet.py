"""pods/log, exec and attach: the api-server as a proxy to the pod's kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from kube.api.core import Node, Pod
from kube.component.webhandler import abort, be_patient, drained
from kube.machinery import scheme
from kube.machinery.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    StatusError,
)
from master.apiserver import metrics
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.registry.api import Api
from master.apiserver.registry.options import Target
from master.apiserver.rest import dial
from master.apiserver.rest.dial import DIAL_SECONDS
from master.apiserver.rest.relay import relay_upgrade
from master.apiserver.rest.requestinfo import ResourcePath
from master.apiserver.rest.watch import client_has_gone

DEFAULT_PORT = 10250
IDLE_SECONDS = 10.0
MAX_ERROR_BYTES = 4096
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

    async def handle(self, request: web.Request, path: ResourcePath) -> web.StreamResponse:
        target = Target(kind_of(Pod), path.namespace, path.name, path.subresource)
        pod = await self._pod(request, target)
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

    async def _pod(self, request: web.Request, target: Target) -> Pod:
        streamed = target.subresource in ("exec", "attach")
        if request.method not in (("GET", "POST") if streamed else ("GET",)):
            raise MethodNotAllowed(
                "the server does not allow this method on the requested resource"
            )
        return scheme.decode(Pod, await self._api.read(target))

    async def _kubelet(self, pod: Pod) -> Kubelet:
        name = pod.spec.node_name
        if not name:
            raise BadRequest(f"pod {pod.metadata.name} does not have a host assigned")
        data = await self._api.read(Target(kind_of(Node), "", name))
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
        path = f"/containerLogs/{place}?{urlencode(query)}"
        assert self._tls is not None
        be_patient(request)
        try:
            async with dial.get(kubelet.host, kubelet.port, path, self._tls) as answer:
                return await _copy(request, answer)
        except ServiceUnavailable as error:
            # No 503: clients would try again for long before they show the reason.
            raise InternalError(f'Get "{kubelet.url}{path}": {error.message}') from error


async def _copy(request: web.Request, answer: dial.Answer) -> web.StreamResponse:
    """The kubelet's answer, piece by piece as it comes and as the client takes it."""
    if answer.status != 200:
        raise await _refusal(answer)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    copying = asyncio.create_task(_pour(request, response, answer), name="copy log")
    try:
        while not copying.done():
            # aiohttp lets a handler run on after its client has gone; a log may be quiet for long.
            await asyncio.wait([copying], timeout=IDLE_SECONDS)
            if client_has_gone(request):
                copying.cancel()
        await copying
    except (ConnectionResetError, asyncio.CancelledError):
        if not client_has_gone(request):
            raise
    except InternalError:
        abort(request)  # the head is out: a client must not take this for the end of the log
    finally:
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
    return response


async def _pour(request: web.Request, response: web.StreamResponse, answer: dial.Answer) -> None:
    async for piece in answer.content:
        await response.write(piece)
        await drained(request)
    await response.write_eof()


async def _refusal(answer: dial.Answer) -> StatusError:
    text = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DIAL_SECONDS):
            async for piece in answer.content:
                text = (text + piece)[:MAX_ERROR_BYTES]
                if len(text) == MAX_ERROR_BYTES:
                    break
    said = text.decode(errors="replace").strip() or f"the kubelet answered {answer.status}"
    return (BadRequest if 400 <= answer.status < 500 else InternalError)(said)


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
