"""The HTTPS front end: authentication, authorization, routing, errors, metrics."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from kube.component.log import get_logger
from kube.component.version import version_info
from kube.machinery.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    StatusError,
    Unauthorized,
)
from master.apiserver import metrics
from master.apiserver.authn.identity import ANONYMOUS, User, credential_from_der
from master.apiserver.authn.impersonation import impersonated
from master.apiserver.authz import reviews
from master.apiserver.authz.rules import Attributes
from master.apiserver.decoding.limits import MAX_BODY_BYTES
from master.apiserver.etcd3.errors import StoreError
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.registry.api import Api, as_status_error
from master.apiserver.rest import discovery, openapi
from master.apiserver.rest.body import parse_body, read_body
from master.apiserver.rest.handlers import ResourceHandlers, truthy
from master.apiserver.rest.health import HealthHandlers
from master.apiserver.rest.kubelet import KubeletProxy
from master.apiserver.rest.requestinfo import ResourcePath, parse_path
from master.apiserver.rest.responses import error_response, json_response, plain_response

log = get_logger(__name__)
# Of a query, which is read before anything is known of its sender: a URL may be 1 MiB long, and
# half a million parameters would hold the loop for half a second.
MAX_PARAMETERS = 5000
_STREAMED = ("exec", "attach", "log", "portforward")
_VERBS = {"PUT": "PUT", "PATCH": "PATCH", "POST": "POST", "HEAD": "GET"}


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """What the HTTP handlers work with. `insecure_user` calls without TLS (tests only)."""

    api: Api
    health: HealthHandlers
    kubelets: KubeletProxy
    address: str
    insecure_user: User = ANONYMOUS


def make_app(front: FrontEnd) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    handlers = ResourceHandlers(front.api)

    async def serve(request: web.Request) -> web.StreamResponse:
        return await _serve(front, handlers, request)

    app.router.add_route("*", "/{tail:.*}", serve)
    return app


def user_of(request: web.Request, insecure: User) -> User:
    """The certificate's user; a request over TLS without certificate is anonymous."""
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport else None
    if tls is None:
        return insecure
    der = tls.getpeercert(binary_form=True)
    if not der:
        return ANONYMOUS
    credential = credential_from_der(der)
    metrics.certificate_seen((credential.expires - datetime.now(UTC)).total_seconds())
    return credential.user


def _acting_user(front: FrontEnd, request: web.Request) -> User:
    """Whom the request is answered as: the certificate's user, or whom he may act as."""
    user = user_of(request, front.insecure_user)
    acting = impersonated(front.api.authorizer, user, request.headers.items())
    if acting is not user:
        log.info(
            "impersonation",
            user=user.name,
            acting_as=acting.name,
            groups=sorted(acting.groups),
            method=request.method,
            path=request.path,
        )
    return acting


async def _serve(
    front: FrontEnd, handlers: ResourceHandlers, request: web.Request
) -> web.StreamResponse:
    if request.rel_url.raw_query_string.count("&") >= MAX_PARAMETERS:
        return error_response(BadRequest(f"more than {MAX_PARAMETERS} query parameters"))
    began = time.perf_counter()
    path = parse_path(request.path)
    verb = _verb(request, path)
    status = 500
    try:
        user = _acting_user(front, request)
        if path is None or (path.resource is None and _is_review(path)):
            handle: Awaitable[web.StreamResponse] = _serve_other(front, request, user, path)
        else:
            handle = _serve_resource(front, handlers, request, path, user)
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
        _observe(verb, path, status, time.perf_counter() - began)


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
    if path is None or path.resource is None:
        # Paths outside of the scheme are not told apart: labels must stay few.
        metrics.observe(verb, "", "", "", "", "", "", status, seconds)
        return
    metrics.observe(
        verb, path.group, path.version, path.plural, path.subresource, path.namespace,
        path.name, status, seconds,
    )  # fmt: skip


async def _serve_resource(
    front: FrontEnd,
    handlers: ResourceHandlers,
    request: web.Request,
    path: ResourcePath,
    user: User,
) -> web.StreamResponse:
    if user is ANONYMOUS:  # who acts as system:anonymous is authenticated, and hears 403
        raise Unauthorized("Unauthorized")
    part = kind_of(path.resource).subresource(path.subresource) if path.resource else None
    if part and part.connect:
        return await front.kubelets.handle(request, path, user)
    return await handlers.handle(request, path, user)


def _is_review(path: ResourcePath) -> bool:
    return path.group in reviews.GROUPS


Handler = Callable[[FrontEnd, web.Request], web.Response]


async def _serve_other(
    front: FrontEnd, request: web.Request, user: User, review: ResourcePath | None
) -> web.StreamResponse:
    """Everything that is no stored object: discovery, schemas, health, metrics, reviews."""
    if review is not None:
        return await _review(front, request, user, review)
    path = request.path.rstrip("/") or "/"
    segments = path.strip("/").split("/")
    verb = "get" if request.method in ("GET", "HEAD") else request.method.lower()
    if user is ANONYMOUS and not front.api.authorizer.allows(user, Attributes(verb, path=path)):
        raise Unauthorized("Unauthorized")
    front.api.authorizer.check(user, Attributes(verb, path=path))
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    if segments[0] in ("healthz", "livez", "readyz"):
        return await front.health.handle(request, segments[0])
    if path == "/metrics":
        return front.health.metrics()
    if path == "/version":
        return plain_response(version_info())
    if segments[0] == "openapi":
        return openapi.respond(request, segments)
    return _discover(front, request, segments)


async def _review(
    front: FrontEnd, request: web.Request, user: User, path: ResourcePath
) -> web.StreamResponse:
    if user is ANONYMOUS:
        raise Unauthorized("Unauthorized")
    if path.version != "v1" or path.name:
        raise NotFound("the server could not find the requested resource")
    if request.method != "POST":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    authorizer = front.api.authorizer
    reviews.check(authorizer, user, path.group, path.plural, path.namespace)
    value = await parse_body(await read_body(request), request.content_type, None)
    answer = reviews.answer(authorizer, user, path.plural, path.namespace, value)
    return plain_response(answer, 201)


def _discover(front: FrontEnd, request: web.Request, segments: list[str]) -> web.Response:
    version = discovery.wants_aggregated(request.headers.get("Accept", ""))
    match segments:
        case ["api" | "apis"] if version:
            response = plain_response(discovery.aggregated(segments[0] == "api", version))
            media = discovery.AGGREGATED.format(version)
            response.headers["Content-Type"] = media
            return response
        case ["api"]:
            return plain_response(discovery.api_versions(front.address))
        case ["apis"]:
            return plain_response(discovery.api_group_list())
        case ["apis", group]:
            found = discovery.api_group(group)
        case ["api", core]:
            found = discovery.resource_list("", core)
        case ["apis", group, of]:
            found = discovery.resource_list(group, of)
        case [""]:
            return json_response(
                b'{"paths":["/api","/apis","/healthz","/metrics","/openapi/v3","/version"]}'
            )
        case _:
            found = None
    if found is None:
        raise NotFound("the server could not find the requested resource")
    return plain_response(found)
