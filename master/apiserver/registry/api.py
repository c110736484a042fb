"""The API's verbs as both front ends call them: authorized, on JSON bytes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from master.apiserver.admission.chain import Chain
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.identity import User
from master.apiserver.auth.rules import Attributes
from master.apiserver.etcd3.errors import Compacted, StoreError
from master.apiserver.patch.apply import apply_patch
from master.apiserver.patch.jsonpatch import apply_json_patch
from master.apiserver.patch.mergekeys import Shape
from master.apiserver.patch.mergepatch import apply_merge_patch
from master.apiserver.patch.strategic import apply_strategic_patch
from master.apiserver.registry.decode import to_typed
from master.apiserver.registry.metadata import timestamp
from master.apiserver.registry.options import (
    Listed,
    ListOptions,
    Target,
    WatchOptions,
    WriteOptions,
)
from master.apiserver.registry.reader import Reader, WatchStream
from master.apiserver.registry.subresources import bind, scale_of, with_scale
from master.apiserver.registry.writer import Deleted, Writer
from muster.api import scheme
from muster.api.autoscaling import Scale
from muster.api.core import Binding, Namespace, Pod
from muster.api.errors import (
    Expired,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    StatusError,
    UnsupportedMediaType,
)
from muster.api.meta import DeleteOptions
from muster.api.policy import Eviction
from muster.api.scheme import ApiObject, Resource
from muster.api.selectors import SelectorError, parse_fields

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
# Called with the patched plain value before it becomes an object: strict field checks.
Check = Callable[[Any, type[msgspec.Struct]], None]


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
        return await self._reader.list(target, options)

    async def watch(self, user: User, target: Target, options: WatchOptions) -> WatchStream:
        self._authorize(user, "watch", target, options.field_selector)
        return await self._reader.watch(target, options)

    async def create(
        self, user: User, target: Target, obj: msgspec.Struct, options: WriteOptions
    ) -> bytes:
        self._authorize(user, "create", target)
        if target.subresource == "binding" or isinstance(obj, Binding):
            return await self._bind(target, cast(Binding, obj), options)
        if target.subresource == "eviction":
            return await self._evict(user, target, cast(Eviction, obj))
        if target.subresource:
            raise MethodNotAllowed(f'"{target.subresource}" cannot be created')
        admit = self._admission.of(user, target)
        return await self._writer.create(target, cast(ApiObject, obj), options, admit)

    async def update(
        self, user: User, target: Target, obj: msgspec.Struct, options: WriteOptions
    ) -> bytes:
        self._authorize(user, "update", target)
        if target.subresource == "scale":
            return await self._set_scale(target, lambda _: cast(Scale, obj), options)
        if target.subresource == "finalize":
            finalizers = cast(Namespace, obj).spec.finalizers
            return await self._writer.edit(
                target, lambda old: _with_finalizers(cast(Namespace, old), finalizers), options
            )
        admit = self._admission.of(user, target)
        return await self._writer.update(target, cast(ApiObject, obj), options, admit)

    async def patch(
        self,
        user: User,
        target: Target,
        patch_type: str,
        patch: Any,
        options: WriteOptions,
        check: Check | None = None,
    ) -> tuple[bytes, bool]:
        """The patched object, and whether it was created (server-side apply)."""
        self._authorize(user, "patch", target)
        type_ = body_type(target.resource, target.subresource)
        what = f'{type_.__name__} in version "{target.resource.version}"'
        now = timestamp(datetime.now(UTC))

        def edit(current: Any) -> msgspec.Struct:
            value = _patched(patch_type, current, patch, Shape(type_), options, now)
            if check:
                check(value, type_)
            return to_typed(type_, value, what)

        if target.subresource == "scale":
            changed = await self._set_scale(
                target, lambda scale: cast(Scale, edit(_plain(scale))), options
            )
            return changed, False
        admit = self._admission.of(user, target)
        try:
            data = await self._writer.edit(
                target, lambda old: cast(ApiObject, edit(_plain(old))), options, admit
            )
            return data, False
        except NotFound:
            if patch_type != APPLY_PATCH or target.subresource:
                raise
        self._authorize(user, "create", target)
        new = cast(ApiObject, edit({}))
        return await self._writer.create(target, new, options, admit), True

    async def delete(self, user: User, target: Target, options: DeleteOptions) -> Deleted:
        self._authorize(user, "delete", target)
        return await self._writer.delete(target, options, self._admission.of(user, target))

    async def delete_collection(
        self, user: User, target: Target, list_options: ListOptions, options: DeleteOptions
    ) -> Listed:
        """Delete all that the selectors select; what is gone meanwhile is no error."""
        self._authorize(user, "deletecollection", target)
        listed = await self._reader.list(target, list_options)
        for data in listed.items:
            meta = scheme.decode_meta(data).metadata
            one = Target(target.resource, meta.namespace, meta.name)
            try:
                await self._writer.delete(one, options, self._admission.of(user, one))
            except NotFound:
                continue
        return listed

    # subresources

    async def _bind(self, target: Target, binding: Binding, options: WriteOptions) -> bytes:
        now = datetime.now(UTC)
        pod = Target(target.resource, target.namespace, target.name, "binding")
        await self._writer.edit(pod, lambda old: bind(cast(Pod, old), binding, now), options)
        return _SUCCESS_CREATED

    async def _evict(self, user: User, target: Target, eviction: Eviction) -> bytes:
        """Without PodDisruptionBudgets every eviction is granted."""
        pod = Target(target.resource, target.namespace, target.name)
        admit = self._admission.of(user, target, "CREATE")
        await self._writer.delete(pod, eviction.delete_options or DeleteOptions(), admit)
        return _SUCCESS_CREATED

    async def _set_scale(
        self, target: Target, change: Callable[[Scale], Scale], options: WriteOptions
    ) -> bytes:
        whole = Target(target.resource, target.namespace, target.name)
        data = await self._writer.edit(
            whole, lambda old: with_scale(old, change(scale_of(old))), options
        )
        return _encode_scale(scheme.decode(target.resource.type, data))


_SUCCESS_CREATED = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}'
)


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


def _patched(
    patch_type: str, current: Any, patch: Any, shape: Shape, options: WriteOptions, now: str
) -> Any:
    if patch_type == JSON_PATCH:
        return apply_json_patch(current, patch)
    if patch_type == MERGE_PATCH:
        return apply_merge_patch(current, patch)
    if patch_type == STRATEGIC_PATCH:
        return apply_strategic_patch(current, patch, shape)
    if patch_type == APPLY_PATCH:
        return apply_patch(current, patch, shape, options.field_manager, options.force, now)
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
