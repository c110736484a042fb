"""The API's verbs as both front ends call them, on JSON bytes, for who was let through the filters.

Bodies come as functions that read and parse them, which nobody calls before the request was
authorized: who may do nothing makes the server parse nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
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
from kube.machinery.schema import Schema
from kube.machinery.scheme import ApiObject
from kube.machinery.selectors import SelectorError, parse_fields
from master.apiserver.admission.chain import Chain
from master.apiserver.authn.identity import User
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.authz.rules import Attributes
from master.apiserver.decoding import limits
from master.apiserver.decoding.codec import Codec
from master.apiserver.etcd3.errors import Compacted, StoreError
from master.apiserver.kinds.kind import AnyKind
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
from master.apiserver.storage.codec import shown, with_revision

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
OPEN_PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
# Called with the patched plain value before it becomes an object: strict field checks.
Check = Callable[[Any, Codec], None]
# Deletions of one request that are on their way to the store at a time.
DELETE_WORKERS = 32


def most_values(media_type: str, kind: AnyKind) -> int:
    """How many values a body of that media type may have."""
    special = {
        JSON_PATCH: limits.MAX_PATCH_VALUES,
        APPLY_PATCH: limits.MAX_MERGED_VALUES,
        STRATEGIC_PATCH: limits.MAX_MERGED_VALUES,
    }
    return max(special.get(media_type, limits.MAX_VALUES), kind.max_values)


def as_status_error(error: StoreError) -> StatusError:
    """What a client hears when the store fails."""
    if isinstance(error, Compacted):
        return Expired(
            "The provided continue parameter is too old to display a consistent list result. "
            "You must start a new list without the continue parameter."
        )
    return ServiceUnavailable(f"the store is not available: {error}")


class Api:
    def __init__(
        self, reader: Reader, writer: Writer, authorizer: Authorizer, admission: Chain
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._authorizer = authorizer
        self._admission = admission

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        part = _served(target, "get")
        return _shown(target, part, await self._reader.get(target, resource_version))

    async def read(self, target: Target) -> bytes:
        """The whole object, of whatever subresource the target is."""
        return await self._reader.get(target)

    async def list(self, target: Target, options: ListOptions) -> Listed:
        _check_whole(target)
        return await self._reader.list(target, options)

    async def watch(self, target: Target, options: WatchOptions) -> WatchStream:
        _check_whole(target)
        return await self._reader.watch(target, options)

    async def create(
        self, user: User, target: Target, body: ObjectBody, options: WriteOptions
    ) -> bytes:
        part = _served(target, "create")
        obj = await body()
        if part and part.delete:
            admission = self._admission.of(user, target, "CREATE")
            whole = Target(target.kind.stored, target.namespace, target.name)
            await self._writer.delete(whole, part.delete(obj), admission)
            return _SUCCESS_CREATED
        if part and part.edit:
            await self._edit_part(user, target, part, _always(obj), options)
            return _SUCCESS_CREATED
        stored = target.stored
        admission = self._admission.of(user, stored)
        wanted = _to_stored(target, cast(ApiObject, obj))
        return shown(target.kind, await self._writer.create(stored, wanted, options, admission))

    async def update(
        self, user: User, target: Target, body: ObjectBody, options: WriteOptions
    ) -> bytes:
        part = _served(target, "update")
        obj = await body()
        if part and part.edit:
            return await self._edit_part(user, target, part, _always(obj), options)
        stored = target.stored
        admission = self._admission.of(user, stored)
        wanted = _to_stored(target, cast(ApiObject, obj))
        return shown(target.kind, await self._writer.update(stored, wanted, options, admission))

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
        part = _served(target, "patch")
        patch = await body()
        kind, codec = target.kind, target.body
        if patch_type == STRATEGIC_PATCH and codec.schema.type is None:
            # Nothing says how its lists would be merged.
            raise unknown_patch(OPEN_PATCH_TYPES)
        what = f'{codec.kind} in version "{target.resource.version}"'
        now = timestamp(datetime.now(UTC))

        async def edit(current: Any) -> msgspec.Struct:
            value = await _patched(patch_type, current, patch, codec.schema, options, now)
            _check_kind(value, codec)
            # What is large is worked on in pieces.
            await asyncio.sleep(0)
            if check:
                check(value, codec)
            obj: msgspec.Struct = codec.typed(value, what)
            await asyncio.sleep(0)
            return obj

        async def edit_object(old: Stored) -> ApiObject:
            # What is stored is JSON already: no object is encoded only to be patched.
            present = shown(kind, with_revision(kind.stored, old.value, old.revision))
            patched = await edit(msgspec.json.decode(present))
            return _to_stored(target, cast(ApiObject, patched))

        async def edit_body(current: msgspec.Struct) -> msgspec.Struct:
            return await edit(_plain(current))

        if part and part.edit:
            return await self._edit_part(user, target, part, edit_body, options), False
        stored = target.stored
        admission = self._admission.of(user, stored)
        try:
            data = await self._writer.edit(stored, edit_object, options, admission)
            return shown(kind, data), False
        except NotFound:
            if patch_type != APPLY_PATCH or target.subresource:
                raise
        # What the filters let through is a patch.
        self._authorizer.check(user, _creating(target))
        new = _to_stored(target, cast(ApiObject, await edit({})))
        return shown(kind, await self._writer.create(stored, new, options, admission)), True

    async def delete(self, user: User, target: Target, body: DeleteBody) -> Deleted:
        _check_whole(target)
        stored = target.stored
        admission = self._admission.of(user, stored)
        deleted = await self._writer.delete(stored, await body(), admission)
        return replace(deleted, data=shown(target.kind, deleted.data))

    async def delete_collection(
        self, user: User, target: Target, list_options: ListOptions, body: DeleteBody
    ) -> Listed:
        """Delete all that the selectors select; what is gone meanwhile is no error."""
        options = await body()
        listed = await self._reader.list(target, list_options)
        left = iter(listed.items)

        async def delete_some() -> None:
            for data in left:
                meta = scheme.decode_meta(data).metadata
                one = Target(target.kind.stored, meta.namespace, meta.name)
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
        written = Target(target.kind.stored, target.namespace, target.name, name)
        admission = self._admission.of(user, target.stored)
        data = await self._writer.edit(written, edited, options, admission)
        return _shown(target, part, shown(target.kind, data))


_SUCCESS_CREATED = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}'
)


def _served(target: Target, verb: str) -> Subresource | None:
    """The subresource that the target names, if it names one. What is not there, or is there for
    other verbs, is no other name of the whole object."""
    if not target.subresource:
        return None
    part = target.part
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
    return scheme.encode(part.read(target.kind.codec.decode(data)))


def _to_stored(target: Target, obj: ApiObject) -> ApiObject:
    """The object in the version that is stored; its own defaults come first."""
    kind = target.kind
    if kind.conversion is None:
        return obj
    converted: ApiObject = kind.conversion.to_stored(kind.default(obj))
    return converted


def _creating(target: Target) -> Attributes:
    resource = target.resource
    return Attributes("create", resource.group, resource.plural, "", target.namespace, target.name)


def pinned_fields(fields: str) -> tuple[tuple[str, str], ...]:
    """What a field selector asks to be equal."""
    try:
        return tuple((r.field, r.value) for r in parse_fields(fields) if not r.negated)
    except SelectorError:  # the reader reports it
        return ()


def _plain(obj: msgspec.Struct) -> Any:
    """The object as clients see it in JSON, kind included."""
    # Through JSON, because to_builtins would leave tuples where patches expect lists.
    return msgspec.json.decode(scheme.encode(obj))


def _always(body: msgspec.Struct) -> Callable[[msgspec.Struct], Awaitable[msgspec.Struct]]:
    async def given(_: msgspec.Struct) -> msgspec.Struct:
        return body

    return given


def _check_kind(value: Any, codec: Codec) -> None:
    """A patch does not change what the object is. Raises BadRequest."""
    if not isinstance(value, dict):
        raise BadRequest("a patch must leave an object")
    for name, expected in (("kind", codec.kind), ("apiVersion", codec.api_version)):
        found = value.get(name)
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
    raise unknown_patch(PATCH_TYPES)


def unknown_patch(accepted: Iterable[str]) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: "
        f"{', '.join(accepted)}"
    )
