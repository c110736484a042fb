"""The API's verbs as both front ends call them: authorized, on JSON bytes.

Bodies come as functions that read and parse them, which nobody calls before the request was
authorized: who may do nothing makes the server parse nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from kube.api.autoscaling import Scale
from kube.api.core import Binding, Namespace, Pod
from kube.api.meta import DeleteOptions
from kube.api.policy import Eviction
from kube.machinery import scheme
from kube.machinery.errors import (
    BadRequest,
    Expired,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    StatusError,
    UnsupportedMediaType,
)
from kube.machinery.schema import Schema, schema_of
from kube.machinery.scheme import ApiObject, Resource
from kube.machinery.selectors import SelectorError, parse_fields
from master.apiserver.admission.chain import Chain
from master.apiserver.authn.identity import User
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.authz.rules import Attributes
from master.apiserver.decoding import limits
from master.apiserver.decoding.typed import to_typed
from master.apiserver.etcd3.errors import Compacted, StoreError
from master.apiserver.patch.apply import apply_patch
from master.apiserver.patch.jsonpatch import apply_json_patch
from master.apiserver.patch.mergepatch import apply_merge_patch
from master.apiserver.patch.strategic import apply_strategic_patch
from master.apiserver.registry.metadata import timestamp
from master.apiserver.registry.options import (
    DeleteBody,
    Listed,
    ListOptions,
    ObjectBody,
    PatchBody,
    Target,
    WatchOptions,
    WriteOptions,
)
from master.apiserver.registry.reader import Reader, WatchStream
from master.apiserver.registry.subresources import bind, scale_of, with_scale
from master.apiserver.registry.writer import Deleted, Writer, at_once

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
# Called with the patched plain value before it becomes an object: strict field checks.
Check = Callable[[Any, type[msgspec.Struct]], None]
# Deletions of one request that are on their way to the store at a time.
DELETE_WORKERS = 32


def most_values(patch_type: str) -> int:
    """How many values a body of that media type may have."""
    special = {
        JSON_PATCH: limits.MAX_PATCH_VALUES,
        APPLY_PATCH: limits.MAX_MERGED_VALUES,
        STRATEGIC_PATCH: limits.MAX_MERGED_VALUES,
    }
    return special.get(patch_type, limits.MAX_VALUES)


def as_status_error(error: StoreError) -> StatusError:
    """What a client hears when the store fails."""
    if isinstance(error, Compacted):
        return Expired(
            "The provided continue parameter is too old to display a consistent list result. "
            "You must start a new list without the continue parameter."
        )
    return ServiceUnavailable(f"the store is not available: {error}")


def body_type(resource: Resource, subresource: str) -> type[msgspec.Struct]:
    """The type of the object that a request to this (sub)resource carries."""
    special: dict[str, type[msgspec.Struct]] = {
        "scale": Scale,
        "binding": Binding,
        "eviction": Eviction,
    }
    return special.get(subresource, resource.type)


class Api:
    def __init__(
        self, reader: Reader, writer: Writer, authorizer: Authorizer, admission: Chain
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.authorizer = authorizer
        self._admission = admission

    def _authorize(self, user: User, verb: str, target: Target, fields: str = "") -> None:
        pinned = _pinned(fields)
        self.authorizer.check(
            user,
            Attributes(
                verb=verb,
                group=target.resource.group,
                resource=target.resource.plural,
                subresource=target.subresource,
                namespace=target.namespace,
                name=target.name or dict(pinned).get("metadata.name", ""),
                pinned=pinned,
            ),
        )

    async def get(self, user: User, target: Target, resource_version: str = "") -> bytes:
        self._authorize(user, "get", target)
        _check_served(target, "status", "scale")
        data = await self._reader.get(target, resource_version)
        if target.subresource == "scale":
            return _encode_scale(scheme.decode(target.resource.type, data))
        return data

    async def get_for(self, user: User, verb: str, target: Target) -> bytes:
        """The object behind a connect subresource, authorized for `verb` on the subresource."""
        self._authorize(user, verb, target)
        return await self._reader.get(target)

    async def read(self, target: Target) -> bytes:
        """An object for the server's own use, asked of nobody."""
        return await self._reader.get(target)

    async def list(self, user: User, target: Target, options: ListOptions) -> Listed:
        self._authorize(user, "list", target, options.field_selector)
        _check_served(target)
        return await self._reader.list(target, options)

    async def watch(self, user: User, target: Target, options: WatchOptions) -> WatchStream:
        self._authorize(user, "watch", target, options.field_selector)
        _check_served(target)
        return await self._reader.watch(target, options)

    async def create(
        self, user: User, target: Target, body: ObjectBody, options: WriteOptions
    ) -> bytes:
        self._authorize(user, "create", target)
        _check_served(target, "binding", "eviction")
        obj = await body()
        if target.subresource == "binding" or isinstance(obj, Binding):
            return await self._bind(target, cast(Binding, obj), options)
        if target.subresource == "eviction":
            return await self._evict(user, target, cast(Eviction, obj))
        admit = self._admission.of(user, target)
        return await self._writer.create(target, cast(ApiObject, obj), options, admit)

    async def update(
        self, user: User, target: Target, body: ObjectBody, options: WriteOptions
    ) -> bytes:
        self._authorize(user, "update", target)
        _check_served(target, "status", "scale", "finalize")
        obj = await body()
        if target.subresource == "scale":
            return await self._set_scale(target, _always(cast(Scale, obj)), options)
        if target.subresource == "finalize":
            finalizers = cast(Namespace, obj).spec.finalizers
            return await self._writer.edit(
                target,
                at_once(lambda old: _with_finalizers(cast(Namespace, old), finalizers)),
                options,
            )
        admit = self._admission.of(user, target)
        return await self._writer.update(target, cast(ApiObject, obj), options, admit)

    async def patch(
        self,
        user: User,
        target: Target,
        patch_type: str,
        body: PatchBody,
        options: WriteOptions,
        check: Check | None = None,
    ) -> tuple[bytes, bool]:
        """The patched object, and whether it was created (server-side apply)."""
        self._authorize(user, "patch", target)
        _check_served(target, "status", "scale")
        patch = await body()
        type_ = body_type(target.resource, target.subresource)
        what = f'{type_.__name__} in version "{target.resource.version}"'
        now = timestamp(datetime.now(UTC))

        async def edit(current: Any) -> msgspec.Struct:
            value = await _patched(patch_type, current, patch, schema_of(type_), options, now)
            _check_kind(value, type_)
            # What is large is worked on in pieces.
            await asyncio.sleep(0)
            if check:
                check(value, type_)
            obj = to_typed(type_, value, what)
            await asyncio.sleep(0)
            return obj

        async def edit_object(old: ApiObject) -> ApiObject:
            return cast(ApiObject, await edit(_plain(old)))

        async def edit_scale(scale: Scale) -> Scale:
            return cast(Scale, await edit(_plain(scale)))

        if target.subresource == "scale":
            return await self._set_scale(target, edit_scale, options), False
        admit = self._admission.of(user, target)
        try:
            return await self._writer.edit(target, edit_object, options, admit), False
        except NotFound:
            if patch_type != APPLY_PATCH or target.subresource:
                raise
        self._authorize(user, "create", target)
        new = cast(ApiObject, await edit({}))
        return await self._writer.create(target, new, options, admit), True

    async def delete(self, user: User, target: Target, body: DeleteBody) -> Deleted:
        self._authorize(user, "delete", target)
        _check_served(target)
        admit = self._admission.of(user, target)
        return await self._writer.delete(target, await body(), admit)

    async def delete_collection(
        self, user: User, target: Target, list_options: ListOptions, body: DeleteBody
    ) -> Listed:
        """Delete all that the selectors select; what is gone meanwhile is no error."""
        self._authorize(user, "deletecollection", target)
        options = await body()
        listed = await self._reader.list(target, list_options)
        left = iter(listed.items)

        async def delete_some() -> None:
            for data in left:
                meta = scheme.decode_meta(data).metadata
                one = Target(target.resource, meta.namespace, meta.name)
                with suppress(NotFound):
                    await self._writer.delete(one, options, self._admission.of(user, one))

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(DELETE_WORKERS, len(listed.items))):
                    tasks.create_task(delete_some(), name="delete collection")
        except* (StatusError, StoreError) as group:
            raise group.exceptions[0] from None
        return listed

    # subresources

    async def _bind(self, target: Target, binding: Binding, options: WriteOptions) -> bytes:
        now = datetime.now(UTC)
        pod = Target(target.resource, target.namespace, target.name, "binding")
        await self._writer.edit(
            pod, at_once(lambda old: bind(cast(Pod, old), binding, now)), options
        )
        return _SUCCESS_CREATED

    async def _evict(self, user: User, target: Target, eviction: Eviction) -> bytes:
        """Without PodDisruptionBudgets every eviction is granted."""
        pod = Target(target.resource, target.namespace, target.name)
        admit = self._admission.of(user, target, "CREATE")
        await self._writer.delete(pod, eviction.delete_options or DeleteOptions(), admit)
        return _SUCCESS_CREATED

    async def _set_scale(
        self, target: Target, change: Callable[[Scale], Awaitable[Scale]], options: WriteOptions
    ) -> bytes:
        whole = Target(target.resource, target.namespace, target.name)

        async def scaled(old: ApiObject) -> ApiObject:
            return with_scale(old, await change(scale_of(old)))

        data = await self._writer.edit(whole, scaled, options)
        return _encode_scale(scheme.decode(target.resource.type, data))


_SUCCESS_CREATED = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}'
)


def _check_served(target: Target, *subresources: str) -> None:
    """What is not there, or is there for other verbs, is no other name of the whole object."""
    wanted = target.subresource
    if wanted and wanted not in target.resource.subresources:
        raise NotFound("the server could not find the requested resource")
    if wanted and wanted not in subresources:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")


def _pinned(fields: str) -> tuple[tuple[str, str], ...]:
    """What a field selector asks to be equal."""
    try:
        return tuple((r.field, r.value) for r in parse_fields(fields) if not r.negated)
    except SelectorError:  # the reader reports it
        return ()


def _plain(obj: msgspec.Struct) -> Any:
    """The object as clients see it in JSON, kind included."""
    # Through JSON, because to_builtins would leave tuples where patches expect lists.
    value = msgspec.json.decode(msgspec.json.encode(obj))
    return {
        "apiVersion": getattr(obj, "api_version", ""),
        "kind": getattr(obj, "kind", ""),
        **value,
    }


def _always(scale: Scale) -> Callable[[Scale], Awaitable[Scale]]:
    async def given(_: Scale) -> Scale:
        return scale

    return given


def _check_kind(value: Any, type_: type[msgspec.Struct]) -> None:
    """A patch does not change what the object is. Raises BadRequest."""
    if not isinstance(value, dict):
        raise BadRequest("a patch must leave an object")
    for name, attribute in (("kind", "kind"), ("apiVersion", "api_version")):
        found, expected = value.get(name), getattr(type_(), attribute, "")
        if found not in (None, "", expected):
            raise BadRequest(f'a patch may not change {name} from "{expected}" to {found!r:.80}')


async def _patched(
    patch_type: str, current: Any, patch: Any, schema: Schema, options: WriteOptions, now: str
) -> Any:
    if patch_type == JSON_PATCH:
        return await apply_json_patch(current, patch)
    if patch_type == MERGE_PATCH:
        return apply_merge_patch(current, patch)
    if patch_type == STRATEGIC_PATCH:
        return apply_strategic_patch(current, patch, schema)
    if patch_type == APPLY_PATCH:
        return await apply_patch(current, patch, schema, options.field_manager, options.force, now)
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: "
        f"{', '.join(PATCH_TYPES)}"
    )


def _with_finalizers(namespace: Namespace, finalizers: tuple[str, ...]) -> Namespace:
    spec = msgspec.structs.replace(namespace.spec, finalizers=finalizers)
    return msgspec.structs.replace(namespace, spec=spec)


def _encode_scale(obj: ApiObject) -> bytes:
    scale = msgspec.to_builtins(scale_of(obj))
    return msgspec.json.encode({"kind": "Scale", "apiVersion": "autoscaling/v1", **scale})
