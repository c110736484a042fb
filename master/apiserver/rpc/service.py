"""muster.resources.v1.Resources: the registry's verbs on gRPC messages.

Errors travel as a metav1 Status in the trailing metadata, so that a component sees exactly
what a REST client would.
"""

from __future__ import annotations

import asyncio
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
    UnsupportedMediaType,
    encode_status,
)
from kube.rpc.errors import RpcError
from kube.rpc.service import CallContext, Method, methods_of
from kube.stubs.resources import resources_pb2 as pb
from master.apiserver import metrics
from master.apiserver.authn.identity import User
from master.apiserver.authz import reviews
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.authz.rules import Attributes
from master.apiserver.decoding import limits
from master.apiserver.decoding.checks import check_kind, checked
from master.apiserver.decoding.jsontext import decode_json
from master.apiserver.decoding.typed import decode_fast
from master.apiserver.decoding.yamltext import decode_yaml
from master.apiserver.etcd3.errors import StoreError
from master.apiserver.filters.call import Call, Filters, Peer
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.kinds.registry import Registry
from master.apiserver.registry.api import (
    APPLY_PATCH,
    PATCH_TYPES,
    Api,
    as_status_error,
    most_values,
    pinned_fields,
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
from master.apiserver.registry.reader import IDLE, WatchStream

log = get_logger(__name__)
T = TypeVar("T")
# What RBAC calls a verb of the metrics.
_VERBS = {
    "GET": "get", "LIST": "list", "POST": "create", "PUT": "update", "PATCH": "patch",
    "APPLY": "patch", "DELETE": "delete",
}  # fmt: skip


class ResourcesService:
    def __init__(
        self, registry: Registry, filters: Filters, api: Api, authorizer: Authorizer
    ) -> None:
        self._registry = registry
        self._filters = filters
        self._api = api
        self._authorizer = authorizer

    async def get(self, request: pb.GetRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            target = self._target(request.ref, named=True)
            return pb.Object(json=await self._api.get(target, request.resource_version))

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
            found = await self._api.list(self._target(request.ref), options)
            answer = pb.ListResponse(
                items=found.items,
                resource_version=found.resource_version,
                remaining_item_count=found.remaining or 0,
            )
            setattr(answer, "continue", found.continue_)
            return answer

        return await self._answer(context, "LIST", request.ref, run, request.field_selector)

    async def create(self, request: pb.CreateRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            if request.ref.group in reviews.GROUPS:
                return pb.Object(json=self._review(user, request))
            target = self._target(request.ref)
            body = _body(target, request.json)
            options = WriteOptions(request.dry_run, request.field_manager)
            return pb.Object(json=await self._api.create(user, target, body, options))

        return await self._answer(context, "POST", request.ref, run)

    async def update(self, request: pb.UpdateRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            target = self._target(request.ref, named=True)
            body = _body(target, request.json)
            options = WriteOptions(request.dry_run, request.field_manager)
            return pb.Object(json=await self._api.update(user, target, body, options))

        return await self._answer(context, "PUT", request.ref, run)

    async def patch(self, request: pb.PatchRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            if request.patch_type not in PATCH_TYPES:
                raise UnsupportedMediaType(f'unknown patch type "{request.patch_type}"')
            options = WriteOptions(request.dry_run, request.field_manager, request.force)
            target = self._target(request.ref, named=True)
            body = _patch_body(target, request.patch_type, request.patch)
            data, _ = await self._api.patch(user, target, request.patch_type, body, options)
            return pb.Object(json=data)

        verb = "APPLY" if request.patch_type == APPLY_PATCH else "PATCH"
        return await self._answer(context, verb, request.ref, run)

    async def delete(self, request: pb.DeleteRequest, context: CallContext) -> pb.Object:
        async def run(user: User) -> pb.Object:
            body = _delete_body(request.options)
            deleted = await self._api.delete(user, self._target(request.ref, named=True), body)
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

            async def run(_: Call) -> WatchStream:
                return await self._api.watch(self._target(request.ref), options)

            call = _call(context, "watch", request.ref, request.field_selector)
            stream = await self._filters.serve(call, run)
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

    async def discover(
        self, request: pb.DiscoverRequest, context: CallContext
    ) -> AsyncIterator[pb.DiscoverResponse]:
        changed = asyncio.Event()
        try:
            pem = context.peer_certificate()
            call = Call(Attributes("get", path="/apis"), Peer(pem is not None, pem=pem or b""))

            async def follow(_: Call) -> Callable[[], None]:
                return self._registry.on_change(changed.set)

            stop = await self._filters.serve(call, follow)
        except (StatusError, StoreError) as error:
            raise _failure(_status_error(error)) from error
        try:
            while True:
                changed.clear()
                yield pb.DiscoverResponse(kinds=[_served(kind) for kind in self._registry.kinds])
                await changed.wait()
        finally:
            stop()

    async def _answer(
        self,
        context: CallContext,
        verb: str,
        ref: pb.Ref,
        run: Callable[[User], Awaitable[T]],
        fields: str = "",
    ) -> T:
        """What `run` answers once the filters have let the call through; `verb` is the metrics'."""
        began = time.perf_counter()
        code = 200
        try:
            with metrics.inflight(verb):
                call = _call(context, _VERBS[verb], ref, fields)
                return await self._filters.serve(call, lambda call: run(call.user))
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

    def _target(self, ref: pb.Ref, named: bool = False) -> Target:
        kind = self._registry.find(ref.group, ref.version, ref.resource)
        if kind is None:
            raise NotFound("the server could not find the requested resource")
        if named and not ref.name:
            raise BadRequest("a name is required")
        namespaced = kind.resource.namespaced
        if ref.namespace and not namespaced:
            # It was authorized as if the namespace meant something.
            raise BadRequest("a namespace may not be set for a resource that has none")
        if namespaced and ref.name and not ref.namespace:
            raise BadRequest("an empty namespace may not be set when a resource name is provided")
        target = Target(kind, ref.namespace, ref.name, ref.subresource)
        if ref.subresource and target.part is None:
            raise NotFound("the server could not find the requested resource")
        return target

    def _review(self, user: User, request: pb.CreateRequest) -> bytes:
        """What a component asks about a caller of its own port; nothing is stored."""
        ref, authorizer = request.ref, self._authorizer
        reviews.check_served(ref.group, ref.resource, ref.namespace)
        value = decode_json(request.json)
        answer = reviews.answer(authorizer, user, ref.resource, ref.namespace, value)
        return msgspec.json.encode(answer)


def _served(kind: AnyKind) -> pb.ServedKind:
    resource = kind.resource
    return pb.ServedKind(
        group=resource.group,
        version=resource.version,
        kind=resource.kind,
        resource=resource.plural,
        namespaced=resource.namespaced,
        stored=kind.stored is kind,
    )


def _call(context: CallContext, verb: str, ref: pb.Ref, fields: str = "") -> Call:
    pem = context.peer_certificate()
    pinned = pinned_fields(fields)
    asked = Attributes(
        verb=verb,
        group=ref.group,
        resource=ref.resource,
        subresource=ref.subresource,
        namespace=ref.namespace,
        name=ref.name or dict(pinned).get("metadata.name", ""),
        pinned=pinned,
    )
    # Where there is TLS, nobody gets here without a certificate.
    return Call(asked, Peer(pem is not None, pem=pem or b""))


def _not_negative(name: str, value: int) -> int:
    if value < 0:
        raise BadRequest(f"invalid {name} {value}: must be greater than or equal to 0")
    return value


def _sized(body: bytes) -> bytes:
    if len(body) > limits.MAX_BODY_BYTES:
        raise limits.too_large()
    return body


def _body(target: Target, body: bytes) -> ObjectBody:
    codec = target.body
    what = f'{codec.kind} in version "{target.resource.version}"'

    async def decode() -> msgspec.Struct:
        obj: msgspec.Struct = codec.fast(_sized(body), what)
        kind, version = getattr(obj, "kind", ""), getattr(obj, "api_version", "")
        check_kind(kind, version, codec, target.resource)
        return obj

    return decode


def _patch_body(target: Target, patch_type: str, body: bytes) -> PatchBody:
    async def decode() -> Any:
        whole = _sized(body)
        most = most_values(patch_type, target.kind)
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
