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
from kube.machinery.scheme import ApiObject
from kube.machinery.selectors import SelectorError, parse_fields
from master.apiserver.admission.chain import Chain
from master.apiserver.authn.identity import User
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.authz.rules import Attributes
from master.apiserver.decoding import limits
from master.apiserver.decoding.typed import to_typed
from master.apiserver.etcd3.errors import Compacted, StoreError
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.kinds.parts.subresource import Subresource
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
from master.apiserver.registry.writer import Deleted, Stored, Writer
from master.apiserver.storage.codec import with_revision

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


def body_type(target: Target) -> type[msgspec.Struct]:
    """The type of the object that a request to this (sub)resource carries."""
    part = kind_of(target.resource).subresource(target.subresource)
    return (part.body if part else None) or target.resource.type


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
        part = _served(target, "get")
        return _shown(target, part, await self._reader.get(target, resource_version))

    async def get_for(self, user: User, verb: str, target: Target) -> bytes:
        """The object behind a connect subresource, authorized for `verb` on the subresource."""
        self._authorize(user, verb, target)
        return await self._reader.get(target)

    async def read(self, target: Target) -> bytes:
        """An object for the server's own use, asked of nobody."""
        return await self._reader.get(target)

    async def list(self, user: User, target: Target, options: ListOptions) -> Listed:
        self._authorize(user, "list", target, options.field_selector)
        _check_whole(target)
        return await self._reader.list(target, options)

    async def watch(self, user: User, target: Target, options: WatchOptions) -> WatchStream:
        self._authorize(user, "watch", target, options.field_selector)
        _check_whole(target)
        return await self._reader.watch(target, options)

    async def create(
        self, user: User, target: Target, body: ObjectBody, options: WriteOptions
    ) -> bytes:
        self._authorize(user, "create", target)
        part = _served(target, "create")
        obj = await body()
        if part and part.delete:
            admission = self._admission.of(user, target, "CREATE")
            whole = Target(target.resource, target.namespace, target.name)
            await self._writer.delete(whole, part.delete(obj), admission)
            return _SUCCESS_CREATED
        if part and part.edit:
            await self._edit_part(user, target, part, _always(obj), options)
            return _SUCCESS_CREATED
        admission = self._admission.of(user, target)
        return await self._writer.create(target, cast(ApiObject, obj), options, admission)

    async def update(
        self, user: User, target: Target, body: ObjectBody, options: WriteOptions
    ) -> bytes:
        self._authorize(user, "update", target)
        part = _served(target, "update")
        obj = await body()
        if part and part.edit:
            return await self._edit_part(user, target, part, _always(obj), options)
        admission = self._admission.of(user, target)
        return await self._writer.update(target, cast(ApiObject, obj), options, admission)

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
        part = _served(target, "patch")
        patch = await body()
        type_ = body_type(target)
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

        async def edit_object(old: Stored) -> ApiObject:
            # What is stored is JSON already: no object is encoded only to be patched.
            stored = with_revision(target.resource, old.value, old.revision)
            return cast(ApiObject, await edit(msgspec.json.decode(stored)))

        async def edit_body(current: msgspec.Struct) -> msgspec.Struct:
            return await edit(_plain(current))

        if part and part.edit:
            return await self._edit_part(user, target, part, edit_body, options), False
        admission = self._admission.of(user, target)
        try:
            return await self._writer.edit(target, edit_object, options, admission), False
        except NotFound:
            if patch_type != APPLY_PATCH or target.subresource:
                raise
        self._authorize(user, "create", target)
        new = cast(ApiObject, await edit({}))
        return await self._writer.create(target, new, options, admission), True

    async def delete(self, user: User, target: Target, body: DeleteBody) -> Deleted:
        self._authorize(user, "delete", target)
        _check_whole(target)
        admission = self._admission.of(user, target)
        return await self._writer.delete(target, await body(), admission)

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

    async def _edit_part(
        self,
        user: User,
        target: Target,
        part: Subresource,
        change: Callable[[msgspec.Struct], Awaitable[msgspec.Struct]],
        options: WriteOptions,
    ) -> bytes:
        """Change the object by its part: `change` turns the present body into the wanted one."""
        assert part.edit is not None
        edit, read, now = part.edit, part.read, timestamp(datetime.now(UTC))

        async def edited(old: Stored) -> ApiObject:
            body = await change(read(old.obj) if read else old.obj)
            changed: ApiObject = edit(old.obj, body, now)
            return changed

        name = "" if part.judged_whole else target.subresource
        written = Target(target.resource, target.namespace, target.name, name)
        admission = self._admission.of(user, target)
        return _shown(target, part, await self._writer.edit(written, edited, options, admission))


_SUCCESS_CREATED = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}'
)


def _served(target: Target, verb: str) -> Subresource | None:
    """The subresource that the target names, if it names one. What is not there, or is there for
    other verbs, is no other name of the whole object."""
    if not target.subresource:
        return None
    part = kind_of(target.resource).subresource(target.subresource)
    if part is None:
        raise NotFound("the server could not find the requested resource")
    if part.connect or verb not in part.verbs:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    return part


def _check_whole(target: Target) -> None:
    """No subresource is listed, watched or deleted."""
    _served(target, "list")


def _shown(target: Target, part: Subresource | None, data: bytes) -> bytes:
    """The object's JSON, or that of the body that stands for it."""
    if part is None or part.read is None:
        return data
    return msgspec.json.encode(_plain(part.read(scheme.decode(target.resource.type, data))))


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


def _always(body: msgspec.Struct) -> Callable[[msgspec.Struct], Awaitable[msgspec.Struct]]:
    async def given(_: msgspec.Struct) -> msgspec.Struct:
        return body

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
