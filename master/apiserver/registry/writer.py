"""create, update and delete: read, decide by the kind's declaration, write with compare, repeat.

The current state comes from the watch cache first; when the write's compare fails, the answer
carries the true state and the decision is made again on that (optimistic concurrency).
"""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from kube.api.meta import DeleteOptions, StatusCause
from kube.machinery.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    StatusError,
    TooLarge,
    already_exists,
    conflict,
    invalid,
    not_found,
)
from kube.machinery.scheme import ApiObject
from kube.stubs.etcd.kv_pb2 import KeyValue
from master.apiserver.admission.chain import UNASKED, Admission
from master.apiserver.cache.cacher import Cacher
from master.apiserver.decoding import limits
from master.apiserver.etcd3.errors import ValueTooLarge
from master.apiserver.etcd3.lease import LeasePool
from master.apiserver.etcd3.store import ANY, Change, Outcome, Store
from master.apiserver.kinds.kind import AnyKind, Exhausted
from master.apiserver.kinds.settings import Settings
from master.apiserver.registry import deletion
from master.apiserver.registry.metadata import (
    SUFFIX_ALPHABET,
    SUFFIX_LENGTH,
    carried_over,
    check_names,
    check_preconditions,
    generated_name,
    new_metadata,
    timestamp,
    with_meta,
)
from master.apiserver.registry.options import Target, WriteOptions
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import validate_metadata
from master.apiserver.storage.codec import from_stored, to_stored, with_revision
from master.apiserver.storage.keys import key_of, key_of_claim, tail_of

# How often a write is decided again because others wrote in between.
ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as the store has it."""

    obj: ApiObject
    value: bytes
    revision: int


# The object as it is to be, by what is stored now.
Edit = Callable[[Stored], Awaitable[ApiObject]]


@dataclass(frozen=True, slots=True)
class Deleted:
    """The outcome of a delete: the object's last state, and whether it is gone already."""

    data: bytes
    gone: bool
    uid: str


def at_once(change: Callable[[ApiObject], ApiObject]) -> Edit:
    """An edit that waits for nothing."""

    async def edit(current: Stored) -> ApiObject:
        return change(current.obj)

    return edit


def _storable(kind: AnyKind, obj: ApiObject) -> bytes:
    """The value to store. Raises TooLarge for an object that grew, edit by edit."""
    value = to_stored(kind, obj)
    limits.check_json(value, kind.max_values or limits.MAX_VALUES)
    return value


def _owned(kind: AnyKind, obj: ApiObject) -> frozenset[str]:
    return kind.claims.owned(obj) if kind.claims else frozenset()


class Writer:
    """Writes objects of stored versions: a target's kind is never one that is converted."""

    def __init__(
        self,
        store: Store,
        cacher: Cacher,
        leases: LeasePool,
        settings: Settings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._cacher = cacher
        self._leases = leases
        self._settings = settings
        self._clock = clock
        # Only spreads allocations and name suffixes; collisions are found by the store.
        self._random = random.Random(secrets.randbits(64))  # noqa: S311 - guards nothing

    # create

    async def create(
        self, target: Target, obj: ApiObject, options: WriteOptions, admission: Admission = UNASKED
    ) -> bytes:
        kind, resource = target.kind, target.resource
        if kind.closed:
            raise MethodNotAllowed(kind.closed)
        check_names(resource, obj.metadata, target.namespace, target.name)
        if resource.namespaced and not target.namespace:
            raise BadRequest("an empty namespace may not be set during creation")
        obj = await self._admitted(kind, obj, None, admission)
        generated = not obj.metadata.name and obj.metadata.generate_name
        for _ in range(ATTEMPTS):
            made = self._prepared(target, obj, options)
            await admission.validate(made, None)
            made = self._fill_claims(kind, made)
            try:
                return await self._insert(obj, made, target, options)
            except Conflict:
                continue  # an address was taken in between; choose another
            except StatusError as error:
                if error.reason != "AlreadyExists" or not generated:
                    raise
        raise InternalError(f"no free name or address found in {ATTEMPTS} attempts")

    @staticmethod
    async def _admitted(
        kind: AnyKind, obj: ApiObject, old: ApiObject | None, admission: Admission
    ) -> ApiObject:
        """The object with defaults as plug-ins let it pass; what they change gets them again."""
        obj = kind.default(obj)
        admitted = await admission.admit(obj, old)
        return admitted if admitted is obj else kind.default(admitted)

    def _prepared(self, target: Target, obj: ApiObject, options: WriteOptions) -> ApiObject:
        """The object as it will be stored. Raises Invalid."""
        resource, kind = target.resource, target.kind
        name = obj.metadata.name or target.name
        if not name and obj.metadata.generate_name:
            suffix = "".join(self._random.choices(SUFFIX_ALPHABET, k=SUFFIX_LENGTH))
            name = generated_name(obj.metadata.generate_name, suffix)
        meta = new_metadata(
            obj.metadata,
            namespace=target.namespace if resource.namespaced else "",
            name=name,
            uid=str(uuid.uuid4()),
            now=timestamp(self._clock()),
        )
        if kind.counted:
            meta = msgspec.structs.replace(meta, generation=1)
        made: ApiObject = msgspec.structs.replace(obj, metadata=meta)
        made = kind.on_create(made)
        self._judge_claims(kind, made)
        if not options.trusted:
            causes = [*self._name_causes(kind, name), *kind.validate(made)]
            self._raise_if(kind, made, causes)
        return made

    @staticmethod
    def _name_causes(kind: AnyKind, name: str) -> list[StatusCause]:
        if not name:
            return [field.required("metadata.name", "name or generateName is required")]
        why = kind.check_name(name)
        return [field.invalid("metadata.name", name, why)] if why else []

    @staticmethod
    def _raise_if(kind: AnyKind, obj: ApiObject, causes: list[StatusCause]) -> None:
        causes = causes + validate_metadata(obj.metadata)
        if causes:
            raise invalid(kind.resource.kind, kind.resource.group, obj.metadata.name, causes)

    async def _insert(
        self, chosen: ApiObject, made: ApiObject, target: Target, options: WriteOptions
    ) -> bytes:
        kind, resource, meta = target.kind, target.resource, made.metadata
        value = _storable(kind, made)
        key = key_of(kind, meta.namespace, meta.name)
        if options.dry_run:
            found, revision = await self._store.get(key)
            if found is not None:
                raise already_exists(resource.plural, resource.group, meta.name)
            return with_revision(kind, value, revision)
        lease = await self._lease(kind)
        claimed = self._claim(made, _owned(kind, made), frozenset())
        changes = [Change(key, 0, value, lease), *claimed]
        outcome = await self._commit(changes)
        if outcome.succeeded:
            return with_revision(kind, value, outcome.revision)
        if key in outcome.current:
            raise already_exists(resource.plural, resource.group, meta.name)
        self._refused_claim(kind, chosen, made, outcome)
        raise conflict(resource.plural, resource.group, meta.name, "an address was taken")

    async def _commit(self, changes: list[Change]) -> Outcome:
        try:
            return await self._store.commit(changes)
        except ValueTooLarge as error:
            raise TooLarge(f"the object is too large for the store: {error}") from error

    async def _lease(self, kind: AnyKind) -> int:
        ttl = kind.ttl_seconds
        return await self._leases.lease(ttl) if ttl else 0

    # claims

    def _judge_claims(self, kind: AnyKind, obj: ApiObject) -> None:
        """Raise Invalid for what the client chose where it may not."""
        causes = kind.claims.judge(obj, self._settings) if kind.claims else []
        if causes:
            resource = kind.resource
            raise invalid(resource.kind, resource.group, obj.metadata.name, causes)

    def _fill_claims(self, kind: AnyKind, obj: ApiObject) -> ApiObject:
        """Choose what the client left open."""
        if kind.claims is None:
            return obj
        taken, choose = self._cacher.claims, self._random.randrange
        try:
            filled: ApiObject = kind.claims.fill(obj, self._settings, taken, choose)
        except Exhausted as error:
            raise InternalError(str(error)) from error
        return filled

    @staticmethod
    def _claim(obj: ApiObject, wanted: frozenset[str], held: frozenset[str]) -> list[Change]:
        """The Txn's changes to who owns what, from `held` to `wanted`."""
        owner = f"{obj.metadata.namespace}/{obj.metadata.name}".encode()
        claimed = [Change(key_of_claim(claim), 0, owner) for claim in sorted(wanted - held)]
        return claimed + [Change(key_of_claim(claim), ANY, None) for claim in sorted(held - wanted)]

    @staticmethod
    def _refused_claim(kind: AnyKind, chosen: ApiObject, made: ApiObject, outcome: Outcome) -> None:
        """Raise Invalid when what the client itself chose belongs to another object."""
        resource, claims = kind.resource, kind.claims
        for claim in sorted(_owned(kind, chosen)):
            if claims and key_of_claim(claim) in outcome.current:
                causes = [claims.refused(claim)]
                raise invalid(resource.kind, resource.group, made.metadata.name, causes)

    # update

    async def update(
        self, target: Target, obj: ApiObject, options: WriteOptions, admission: Admission = UNASKED
    ) -> bytes:
        """PUT: replace what the client may change. With a resourceVersion only that one."""
        check_names(target.resource, obj.metadata, target.namespace, target.name)
        return await self.edit(target, at_once(lambda _: obj), options, admission)

    async def edit(
        self, target: Target, change: Edit, options: WriteOptions, admission: Admission = UNASKED
    ) -> bytes:
        """Change the object by a function of its current state (PUT, PATCH, subresources)."""
        kind, resource = target.kind, target.resource
        current, cached = await self._current(target)
        for _ in range(ATTEMPTS):
            try:
                changed = await change(current)
                new = await self._changed(target, current.obj, changed, options, admission)
            except StatusError:
                if not cached:
                    raise
                current, cached = await self._fresh(target), False
                continue
            value = _storable(kind, new)
            finished = deletion.is_finished(new, kind.holds(new))
            if value == current.value and not finished:
                if not cached:
                    return with_revision(kind, value, current.revision)
                # It may only look unchanged because the cache is behind.
                current, cached = await self._fresh(target), False
                continue
            if options.dry_run:
                return with_revision(kind, value, current.revision)
            outcome = await self._replace(target, current, new, None if finished else value)
            if outcome.succeeded:
                return with_revision(kind, value, outcome.revision)
            key = key_of(kind, target.namespace, target.name)
            if key in outcome.current and outcome.current[key].mod_revision == current.revision:
                self._refused_claim(kind, await change(current), new, outcome)
                continue
            current, cached = self._from_kv(target, outcome.current.get(key)), False
        raise conflict(resource.plural, resource.group, target.name)

    async def _changed(
        self,
        target: Target,
        old: ApiObject,
        new: ApiObject,
        options: WriteOptions,
        admission: Admission,
    ) -> ApiObject:
        """The new state as its kind lets it be. Raises Conflict, Forbidden, Invalid."""
        kind = target.kind
        # First: a copy that is behind also differs in what its writer may not change, who
        # must hear that it is to be read again.
        self._check_update_preconditions(target, old, new)
        if target.subresource:
            new = await admission.admit(new, old)
        else:
            new = await self._admitted(kind, new, old, admission)
        new = msgspec.structs.replace(new, metadata=carried_over(new.metadata, old.metadata))
        if target.subresource == "status":
            new = kind.on_status(new, old)
        elif not target.subresource:
            new = kind.on_update(new, old)
        if not target.subresource:
            self._judge_claims(kind, new)
        if not options.trusted:
            status = target.subresource == "status"
            judge = (kind.validate_status if status else None) or kind.validate
            causes = judge(new)
            if not target.subresource:
                causes = causes + kind.validate_update(new, old)
            self._raise_if(kind, new, causes)
        await admission.validate(new, old)
        return self._with_generation(kind, self._fill_claims(kind, new), old)

    @staticmethod
    def _with_generation(kind: AnyKind, new: ApiObject, old: ApiObject) -> ApiObject:
        if not kind.counted or kind.counted(new) == kind.counted(old):
            return new
        return with_meta(new, generation=(old.metadata.generation or 0) + 1)

    def _check_update_preconditions(self, target: Target, old: ApiObject, new: ApiObject) -> None:
        resource, meta = target.resource, new.metadata
        if meta.uid and meta.uid != old.metadata.uid:
            why = (
                f"Precondition failed: UID in precondition: {meta.uid}, UID in object meta: "
                f"{old.metadata.uid}"
            )
            raise conflict(resource.plural, resource.group, target.name, why)
        if meta.resource_version:
            if meta.resource_version != old.metadata.resource_version:
                raise conflict(resource.plural, resource.group, target.name)
        elif not target.kind.unconditional_update:
            cause = field.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(resource.kind, resource.group, target.name, [cause])

    async def _replace(
        self, target: Target, current: Stored, new: ApiObject, value: bytes | None
    ) -> Outcome:
        """Write `value` (None: delete) over exactly the state that was decided upon."""
        kind = target.kind
        key = key_of(kind, target.namespace, target.name)
        held = _owned(kind, current.obj)
        if value is None:
            released = self._claim(current.obj, frozenset(), held)
            return await self._commit([Change(key, current.revision, None), *released])
        lease = await self._lease(kind)
        claimed = self._claim(new, _owned(kind, new), held)
        return await self._commit([Change(key, current.revision, value, lease), *claimed])

    # delete

    async def delete(
        self, target: Target, options: DeleteOptions, admission: Admission = UNASKED
    ) -> Deleted:
        resource, kind = target.resource, target.kind
        current, cached = await self._current(target)
        dry_run = bool(options.dry_run)
        for _ in range(ATTEMPTS):
            try:
                await admission.admit_delete(current.obj)
                check_preconditions(resource, current.obj, options.preconditions)
            except (Conflict, Forbidden):
                if not cached:
                    raise
                current, cached = await self._fresh(target), False
                continue
            verdict = deletion.decide(
                current.obj,
                options,
                kind.grace_seconds(current.obj, options),
                self._clock(),
                kind.holds(current.obj),
                kind.orphans,
            )
            if isinstance(verdict, deletion.Keep) and cached:
                current, cached = await self._fresh(target), False
                continue
            if isinstance(verdict, deletion.Keep):
                return self._deleted(kind, current.value, current, gone=False)
            value = None
            if isinstance(verdict, deletion.Mark):
                value = to_stored(kind, kind.mark_deleted(verdict.obj))
            if dry_run:
                return self._deleted(kind, value or current.value, current, gone=value is None)
            outcome = await self._replace(target, current, current.obj, value)
            if outcome.succeeded:
                shown = Stored(current.obj, value or current.value, outcome.revision)
                return self._deleted(kind, shown.value, shown, gone=value is None)
            found = outcome.current.get(key_of(kind, target.namespace, target.name))
            current, cached = self._from_kv(target, found), False
        raise conflict(resource.plural, resource.group, target.name)

    @staticmethod
    def _deleted(kind: AnyKind, value: bytes, current: Stored, *, gone: bool) -> Deleted:
        data = with_revision(kind, value, current.revision)
        return Deleted(data, gone, current.obj.metadata.uid)

    # the current state

    async def _current(self, target: Target) -> tuple[Stored, bool]:
        """The object, and whether it came from the cache (and may be behind)."""
        kind = target.kind
        entry = self._cacher[kind].get(tail_of(kind, target.namespace, target.name))
        if entry is not None:
            stored = entry.stored
            obj = from_stored(kind, stored, entry.revision)
            return Stored(obj, stored, entry.revision), True
        return await self._fresh(target), False

    async def _fresh(self, target: Target) -> Stored:
        kv, _ = await self._store.get(key_of(target.kind, target.namespace, target.name))
        return self._from_kv(target, kv)

    @staticmethod
    def _from_kv(target: Target, kv: KeyValue | None) -> Stored:
        resource = target.resource
        if kv is None:
            raise not_found(resource.plural, resource.group, target.name)
        obj = from_stored(target.kind, kv.value, kv.mod_revision)
        return Stored(obj, kv.value, kv.mod_revision)
