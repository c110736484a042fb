"""muster.resources.v1.Resources: the registry's verbs on gRPC messages.

Errors travel as a metav1 Status in the trailing metadata, so that a component sees exactly
what a REST client would.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from kube.api.meta import DeleteOptions
from kube.component.log import get_logger
from kube.machinery.errors import (
    TRAILER,
    BadRequest,
    InternalError,
    NotFound,
    StatusError,
    Unauthorized,
    UnsupportedMediaType,
    encode_status,
)
from kube.machinery.scheme import resource_for_plural
from kube.rpc.errors import RpcError
from kube.rpc.service import CallContext, Method, methods_of
from kube.stubs.resources import resources_pb2 as pb
from master.apiserver import metrics
from master.apiserver.authn.identity import ANONYMOUS, User, user_from_pem
from master.apiserver.authz import reviews
from master.apiserver.decoding import limits
from master.apiserver.decoding.checks import check_kind, checked
from master.apiserver.decoding.jsontext import decode_json
from master.apiserver.decoding.typed import decode_fast
from master.apiserver.decoding.yamltext import decode_yaml
from master.apiserver.etcd3.errors import StoreError
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.registry.api import (
    APPLY_PATCH,
    PATCH_TYPES,
    Api,
    as_status_error,
    body_type,
    most_values,
)
from master.apiserver.registry.options import (
    DeleteBody,
    ListOptions,
    ObjectBody,
    PatchBody,
    Target,
    WatchOptions,
    WriteOptions,
)
from master.apiserver.registry.reader import IDLE

log = get_logger(__name__)
T = TypeVar("T")


class ResourcesService:
    """`insecure_user` is who calls without TLS; only tests serve without."""

    def __init__(self, api: Api, *, insecure_user: User = ANONYMOUS) -> None:
        self._api = api
        self._insecure_user = insecure_user

    async def get(self, request: pb.GetRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            target = _target(request.ref, named=True)
            return pb.Object(json=await self._api.get(user, target, request.resource_version))

        return await self._answer(context, "GET", request.ref, run)

    async def list(self, request: pb.ListRequest, context: CallContext) -> pb.ListResponse:
        async def run(user: User) -> pb.ListResponse:
            options = ListOptions(
                request.label_selector,
                request.field_selector,
                _not_negative("limit", request.limit),
                getattr(request, "continue"),
                request.resource_version,
                request.resource_version_match,
            )
            found = await self._api.list(user, _target(request.ref), options)
            answer = pb.ListResponse(
                items=found.items,
                resource_version=found.resource_version,
                remaining_item_count=found.remaining or 0,
            )
            setattr(answer, "continue", found.continue_)
            return answer

        return await self._answer(context, "LIST", request.ref, run)

    async def create(self, request: pb.CreateRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            if request.ref.group in reviews.GROUPS:
                return pb.Object(json=self._review(user, request))
            target = _target(request.ref)
            body = _body(target, request.json)
            options = WriteOptions(request.dry_run, request.field_manager)
            return pb.Object(json=await self._api.create(user, target, body, options))

        return await self._answer(context, "POST", request.ref, run)

    async def update(self, request: pb.UpdateRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            target = _target(request.ref, named=True)
            body = _body(target, request.json)
            options = WriteOptions(request.dry_run, request.field_manager)
            return pb.Object(json=await self._api.update(user, target, body, options))

        return await self._answer(context, "PUT", request.ref, run)

    async def patch(self, request: pb.PatchRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            if request.patch_type not in PATCH_TYPES:
                raise UnsupportedMediaType(f'unknown patch type "{request.patch_type}"')
            options = WriteOptions(request.dry_run, request.field_manager, request.force)
            data, _ = await self._api.patch(
                user,
                _target(request.ref, named=True),
                request.patch_type,
                _patch_body(request.patch_type, request.patch),
                options,
            )
            return pb.Object(json=data)

        verb = "APPLY" if request.patch_type == APPLY_PATCH else "PATCH"
        return await self._answer(context, verb, request.ref, run)

    async def delete(self, request: pb.DeleteRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            body = _delete_body(request.options)
            deleted = await self._api.delete(user, _target(request.ref, named=True), body)
            return pb.Object(json=deleted.data)

        return await self._answer(context, "DELETE", request.ref, run)

    async def watch(
        self, request: pb.WatchRequest, context: CallContext
    ) -> AsyncIterator[pb.WatchEvent]:
        try:
            options = WatchOptions(
                request.label_selector,
                request.field_selector,
                request.resource_version,
                request.allow_watch_bookmarks,
                timeout_seconds=float(_not_negative("timeoutSeconds", request.timeout_seconds)),
            )
            stream = await self._api.watch(self._user(context), _target(request.ref), options)
        except (StatusError, StoreError) as error:
            raise _failure(_status_error(error)) from error
        stream.on_cut(context.cut)
        with metrics.watching("watch", request.ref.group, request.ref.resource):
            async with stream as frames:
                # Headers now: the client knows that the watch stands before anything happens.
                await context.send_headers()
                async for frame in frames:
                    if frame is not IDLE:
                        yield pb.WatchEvent(type=frame.type, object=frame.data)

    async def _answer(
        self, context: CallContext, verb: str, ref: pb.Ref, run: Callable[[User], Awaitable[T]]
    ) -> T:
        began = time.perf_counter()
        code = 200
        try:
            with metrics.inflight(verb):
                return await run(self._user(context))
        except (StatusError, StoreError) as error:
            status = _status_error(error)
            code = status.http_code
            raise _failure(status) from error
        except Exception as error:
            log.exception("request failed", verb=verb, resource=ref.resource, name=ref.name)
            code = 500
            raise _failure(InternalError(f"internal error: {error!r}")) from error
        finally:
            metrics.observe(
                verb, ref.group, ref.version, ref.resource, ref.subresource,
                ref.namespace, ref.name, code, time.perf_counter() - began,
            )  # fmt: skip

    def _review(self, user: User, request: pb.CreateRequest) -> bytes:
        """What a component asks about a caller of its own port; nothing is stored."""
        ref, authorizer = request.ref, self._api.authorizer
        reviews.check(authorizer, user, ref.group, ref.resource, ref.namespace)
        value = decode_json(request.json)
        answer = reviews.answer(authorizer, user, ref.resource, ref.namespace, value)
        return msgspec.json.encode(answer)

    def _user(self, context: CallContext) -> User:
        pem = context.peer_certificate()
        if pem is None:
            if self._insecure_user is ANONYMOUS:
                raise Unauthorized("Unauthorized")
            return self._insecure_user
        return user_from_pem(pem)


def _target(ref: pb.Ref, named: bool = False) -> Target:
    resource = resource_for_plural(ref.group, ref.resource)
    if resource is None or ref.version not in ("", resource.version):
        raise NotFound("the server could not find the requested resource")
    if named and not ref.name:
        raise BadRequest("a name is required")
    namespace = ref.namespace if resource.namespaced else ""
    if resource.namespaced and ref.name and not namespace:
        raise BadRequest("an empty namespace may not be set when a resource name is provided")
    if ref.subresource and kind_of(resource).subresource(ref.subresource) is None:
        raise NotFound("the server could not find the requested resource")
    return Target(resource, namespace, ref.name, ref.subresource)


def _not_negative(name: str, value: int) -> int:
    if value < 0:
        raise BadRequest(f"invalid {name} {value}: must be greater than or equal to 0")
    return value


def _sized(body: bytes) -> bytes:
    if len(body) > limits.MAX_BODY_BYTES:
        raise limits.too_large()
    return body


def _body(target: Target, body: bytes) -> ObjectBody:
    type_ = body_type(target)
    what = f'{type_.__name__} in version "{target.resource.version}"'

    async def decode() -> msgspec.Struct:
        obj = decode_fast(type_, _sized(body), what)
        kind, version = getattr(obj, "kind", ""), getattr(obj, "api_version", "")
        check_kind(kind, version, type_, target.resource)
        return obj

    return decode


def _patch_body(patch_type: str, body: bytes) -> PatchBody:
    async def decode() -> Any:
        whole = _sized(body)
        most = most_values(patch_type)
        if patch_type == APPLY_PATCH:
            patch = await decode_yaml(whole, most=most)
        else:
            patch = decode_json(whole, most=most)
        limits.check_depth(patch)
        return patch

    return decode


def _delete_body(body: bytes) -> DeleteBody:
    async def decode() -> DeleteOptions:
        if not body:
            return DeleteOptions()
        return checked(decode_fast(DeleteOptions, _sized(body), "DeleteOptions"))

    return decode


def _status_error(error: StatusError | StoreError) -> StatusError:
    return error if isinstance(error, StatusError) else as_status_error(error)


def _failure(error: StatusError) -> RpcError:
    failed = RpcError(error.message, error.code)
    failed.trailers = ((TRAILER, encode_status(error)),)
    return failed


def methods_of_resources(service: ResourcesService) -> list[Method]:
    """What a transport serves."""
    return list(methods_of(pb.DESCRIPTOR.services_by_name["Resources"], service))
