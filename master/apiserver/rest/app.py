"""The HTTPS front end: what a request asks for, filters, routing, errors, metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass

from aiohttp import web

from kube.component.log import get_logger
from kube.component.version import version_info
from kube.machinery.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    StatusError,
)
from master.apiserver import metrics
from master.apiserver.authn.identity import User
from master.apiserver.authz import reviews
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.authz.rules import Attributes
from master.apiserver.decoding.limits import MAX_BODY_BYTES
from master.apiserver.etcd3.errors import StoreError
from master.apiserver.filters.call import Call, Filters, Peer
from master.apiserver.kinds.registry import Registry
from master.apiserver.registry.api import Api, as_status_error, pinned_fields
from master.apiserver.rest import discovery
from master.apiserver.rest.body import parse_body, read_body
from master.apiserver.rest.handlers import ResourceHandlers, truthy
from master.apiserver.rest.health import HealthHandlers
from master.apiserver.rest.kubelet import KubeletProxy
from master.apiserver.rest.openapi import OpenApi
from master.apiserver.rest.requestinfo import ResourcePath, parse_path
from master.apiserver.rest.responses import error_response, json_response, plain_response

log = get_logger(__name__)
# Of a query, which is read before anything is known of its sender: a URL may be 1 MiB long, and
# half a million parameters would hold the loop for half a second.
MAX_PARAMETERS = 5000
_STREAMED = ("exec", "attach", "log", "portforward")
_RESOURCE_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_VERBS = {"PUT": "PUT", "PATCH": "PATCH", "POST": "POST", "HEAD": "GET"}


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """What the HTTP handlers work with."""

    registry: Registry
    filters: Filters
    api: Api
    authorizer: Authorizer
    health: HealthHandlers
    kubelets: KubeletProxy
    address: str


def make_app(front: FrontEnd) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    handlers = Handlers(ResourceHandlers(front.api, front.registry), OpenApi(front.registry))

    async def serve(request: web.Request) -> web.StreamResponse:
        return await _serve(front, handlers, request)

    app.router.add_route("*", "/{tail:.*}", serve)
    return app


@dataclass(frozen=True, slots=True)
class Handlers:
    resources: ResourceHandlers
    openapi: OpenApi


def _peer(request: web.Request) -> Peer:
    """A request over TLS without certificate is anonymous."""
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport else None
    if tls is None:
        return Peer(encrypted=False)
    return Peer(der=tls.getpeercert(binary_form=True) or b"")


def _call(request: web.Request, path: ResourcePath | None) -> Call:
    asked = resource_attributes(request, path) if path else _path_attributes(request)
    headers = tuple(request.headers.items())
    return Call(asked, _peer(request), headers, request.method, request.path)


def resource_attributes(request: web.Request, path: ResourcePath) -> Attributes:
    """What the URL and the query ask for."""
    verb = _resource_verb(request, path)
    pinned: tuple[tuple[str, str], ...] = ()
    if verb in ("list", "watch"):
        pinned = pinned_fields(request.query.get("fieldSelector", ""))
    return Attributes(
        verb=verb,
        group=path.group,
        resource=path.plural,
        subresource=path.subresource,
        namespace=path.namespace,
        name=path.name or dict(pinned).get("metadata.name", ""),
        pinned=pinned,
    )


def _resource_verb(request: web.Request, path: ResourcePath) -> str:
    if request.method in ("GET", "HEAD"):
        if not path.subresource and truthy(dict(request.query), "watch"):
            return "watch"
        return "get" if path.name else "list"
    if request.method == "DELETE":
        return "delete" if path.name else "deletecollection"
    return _RESOURCE_VERBS.get(request.method, request.method.lower())


def _path_attributes(request: web.Request) -> Attributes:
    verb = "get" if request.method in ("GET", "HEAD") else request.method.lower()
    return Attributes(verb, path=request.path.rstrip("/") or "/")


async def _serve(front: FrontEnd, handlers: Handlers, request: web.Request) -> web.StreamResponse:
    if request.rel_url.raw_query_string.count("&") >= MAX_PARAMETERS:
        return error_response(BadRequest(f"more than {MAX_PARAMETERS} query parameters"))
    began = time.perf_counter()
    path = parse_path(request.path)
    verb = _verb(request, path)
    status = 500
    try:
        handle = front.filters.serve(
            _call(request, path), lambda call: _answer(front, handlers, request, path, call)
        )
        if verb in ("WATCH", "CONNECT"):
            response = await handle
        else:
            with metrics.inflight(verb):
                response = await handle
        status = response.status
        return response
    except (StatusError, StoreError) as error:
        known = error if isinstance(error, StatusError) else as_status_error(error)
        status = known.http_code
        return error_response(known)
    except (web.HTTPException, ConnectionResetError):
        status = 499
        raise
    except Exception as error:
        log.exception("request failed", verb=verb, path=request.path)
        return error_response(InternalError(f"internal error: {error!r}"))
    finally:
        served = path and front.registry.find(path.group, path.version, path.plural)
        _observe(verb, path if served else None, status, time.perf_counter() - began)


def _verb(request: web.Request, path: ResourcePath | None) -> str:
    if path and path.subresource in _STREAMED:
        return "CONNECT"
    if request.method == "GET" and path and truthy(dict(request.query), "watch"):
        return "WATCH"
    if request.method == "GET" and path and not path.name:
        return "LIST"
    if request.method == "DELETE" and path and not path.name:
        return "DELETECOLLECTION"
    return _VERBS.get(request.method, request.method)


def _observe(verb: str, path: ResourcePath | None, status: int, seconds: float) -> None:
    if path is None:
        # Paths outside of the scheme are not told apart: labels must stay few.
        metrics.observe(verb, "", "", "", "", "", "", status, seconds)
        return
    metrics.observe(
        verb, path.group, path.version, path.plural, path.subresource, path.namespace,
        path.name, status, seconds,
    )  # fmt: skip


async def _answer(
    front: FrontEnd,
    handlers: Handlers,
    request: web.Request,
    path: ResourcePath | None,
    call: Call,
) -> web.StreamResponse:
    """What was let through, by whoever serves it."""
    if path is None:
        return await _serve_other(front, handlers, request)
    kind = front.registry.find(path.group, path.version, path.plural)
    if kind is None and path.group in reviews.GROUPS:
        return await _review(front, request, call.user, path)
    part = kind.subresource(path.subresource) if kind else None
    if part and part.connect:
        return await front.kubelets.handle(request, path)
    return await handlers.resources.handle(request, path, call.asked.verb, call.user)


async def _serve_other(
    front: FrontEnd, handlers: Handlers, request: web.Request
) -> web.StreamResponse:
    """Everything that is no resource: discovery, schemas, health, metrics."""
    path = request.path.rstrip("/") or "/"
    segments = path.strip("/").split("/")
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    if segments[0] in ("healthz", "livez", "readyz"):
        return await front.health.handle(request, segments[0])
    if path == "/metrics":
        return front.health.metrics()
    if path == "/metrics/slis":
        return await front.health.slis()
    if path == "/version":
        return plain_response(version_info())
    if segments[0] == "openapi":
        return await handlers.openapi.respond(request, segments)
    return _discover(front, request, segments)


async def _review(
    front: FrontEnd, request: web.Request, user: User, path: ResourcePath
) -> web.StreamResponse:
    if path.version != "v1" or path.name:
        raise NotFound("the server could not find the requested resource")
    if request.method != "POST":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    authorizer = front.authorizer
    reviews.check_served(path.group, path.plural, path.namespace)
    value = await parse_body(await read_body(request), request.content_type, None)
    answer = reviews.answer(authorizer, user, path.plural, path.namespace, value)
    return plain_response(answer, 201)


def _discover(front: FrontEnd, request: web.Request, segments: list[str]) -> web.Response:
    version = discovery.wants_aggregated(request.headers.get("Accept", ""))
    match segments:
        case ["api" | "apis"] if version:
            response = plain_response(
                discovery.aggregated(front.registry, segments[0] == "api", version)
            )
            media = discovery.AGGREGATED.format(version)
            response.headers["Content-Type"] = media
            return response
        case ["api"]:
            return plain_response(discovery.api_versions(front.address))
        case ["apis"]:
            return plain_response(discovery.api_group_list(front.registry))
        case ["apis", group]:
            found = discovery.api_group(front.registry, group)
        case ["api", core]:
            found = discovery.resource_list(front.registry, "", core)
        case ["apis", group, of]:
            found = discovery.resource_list(front.registry, group, of)
        case [""]:
            return json_response(
                b'{"paths":["/api","/apis","/healthz","/metrics","/openapi/v3","/version"]}'
            )
        case _:
            found = None
    if found is None:
        raise NotFound("the server could not find the requested resource")
    return plain_response(found)
