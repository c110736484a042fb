"""create, update and delete: read, decide by the kind's strategy, write with compare, repeat.

The current state comes from the watch cache first; when the write's compare fails, the answer
carries the true state and the decision is made again on that (optimistic concurrency).
"""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from kube.api.core import Namespace, Service
from kube.api.meta import DeleteOptions, StatusCause
from kube.machinery.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InternalError,
    StatusError,
    TooLarge,
    already_exists,
    conflict,
    invalid,
    not_found,
)
from kube.machinery.scheme import ApiObject, Resource, resource_for
from kube.stubs.etcd.kv_pb2 import KeyValue
from master.apiserver.admission.chain import Admit, admit_all
from master.apiserver.cache.cacher import Cacher
from master.apiserver.decoding import limits
from master.apiserver.etcd3.errors import ValueTooLarge
from master.apiserver.etcd3.lease import LeasePool
from master.apiserver.etcd3.store import ANY, Change, Outcome, Store
from master.apiserver.registry import allocation, deletion
from master.apiserver.registry.catalog import AnyStrategy
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
from master.apiserver.storage.keys import CLUSTER_IPS, NODE_PORTS, key_of

# How often a write is decided again because others wrote in between.
ATTEMPTS = 100
Edit = Callable[[ApiObject], Awaitable[ApiObject]]
NAMESPACES = resource_for(Namespace)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as the store has it."""

    obj: ApiObject
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """The outcome of a delete: the object's last state, and whether it is gone already."""

    data: bytes
    gone: bool
    uid: str


def at_once(change: Callable[[ApiObject], ApiObject]) -> Edit:
    """An edit that waits for nothing."""

    async def edit(current: ApiObject) -> ApiObject:
        return change(current)

    return edit


def _storable(resource: Resource, obj: ApiObject) -> bytes:
    """The value to store. Raises TooLarge for an object that grew, edit by edit."""
    value = to_stored(resource, obj)
    limits.check_json(value)
    return value


class Writer:
    def __init__(
        self,
        store: Store,
        cacher: Cacher,
        leases: LeasePool,
        strategies: Mapping[Resource, AnyStrategy],
        ranges: allocation.Ranges,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._cacher = cacher
        self._leases = leases
        self._strategies = strategies
        self._ranges = ranges
        self._clock = clock
        # Only spreads allocations and name suffixes; collisions are found by the store.
        self._random = random.Random(secrets.randbits(64))  # noqa: S311 - guards nothing

    def strategy(self, resource: Resource) -> AnyStrategy:
        return self._strategies[resource]

    # create

    async def create(
        self, target: Target, obj: ApiObject, options: WriteOptions, admit: Admit = admit_all
    ) -> bytes:
        resource = target.resource
        check_names(resource, obj.metadata, target.namespace, target.name)
        if resource.namespaced:
            await self._check_namespace(resource, target.namespace, obj.metadata.name)
        admit(obj, None)
        generated = not obj.metadata.name and obj.metadata.generate_name
        for _ in range(ATTEMPTS):
            made = self._prepared(target, obj, options)
            try:
                return await self._insert(obj, made, target, options)
            except Conflict:
                continue  # an address was taken in between; choose another
            except StatusError as error:
                if error.reason != "AlreadyExists" or not generated:
                    raise
        raise InternalError(f"no free name or address found in {ATTEMPTS} attempts")

    def _prepared(self, target: Target, obj: ApiObject, options: WriteOptions) -> ApiObject:
        """The object as it will be stored. Raises Invalid."""
        resource, strategy = target.resource, self.strategy(target.resource)
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
        if strategy.has_generation:
            meta = msgspec.structs.replace(meta, generation=1)
        made = msgspec.structs.replace(obj, metadata=meta)
        made = strategy.default(strategy.prepare_create(made))
        if isinstance(made, Service):
            self._check_ranges(made)
        if not options.trusted:
            causes = [*self._name_causes(strategy, name), *strategy.validate(made)]
            self._raise_if(resource, made, causes)
        if isinstance(made, Service):
            made = self._allocate(made)
        return made

    @staticmethod
    def _name_causes(strategy: AnyStrategy, name: str) -> list[StatusCause]:
        if not name:
            return [field.required("metadata.name", "name or generateName is required")]
        why = strategy.check_name(name)
        return [field.invalid("metadata.name", name, why)] if why else []

    @staticmethod
    def _raise_if(resource: Resource, obj: ApiObject, causes: list[StatusCause]) -> None:
        causes = causes + validate_metadata(obj.metadata)
        if causes:
            raise invalid(resource.kind, resource.group, obj.metadata.name, causes)

    async def _insert(
        self, chosen: ApiObject, made: ApiObject, target: Target, options: WriteOptions
    ) -> bytes:
        resource, meta = target.resource, made.metadata
        value = _storable(resource, made)
        key = key_of(resource, meta.namespace, meta.name)
        if options.dry_run:
            found, revision = await self._store.get(key)
            if found is not None:
                raise already_exists(resource.plural, resource.group, meta.name)
            return with_revision(resource, value, revision)
        lease = await self._lease(resource)
        changes = [Change(key, 0, value, lease), *self._claim(made, frozenset())]
        outcome = await self._commit(changes)
        if outcome.succeeded:
            return with_revision(resource, value, outcome.revision)
        if key in outcome.current:
            raise already_exists(resource.plural, resource.group, meta.name)
        self._refused_claim(chosen, made, outcome)
        raise conflict(resource.plural, resource.group, meta.name, "an address was taken")

    async def _commit(self, changes: list[Change]) -> Outcome:
        try:
            return await self._store.commit(changes)
        except ValueTooLarge as error:
            raise TooLarge(f"the object is too large for the store: {error}") from error

    async def _lease(self, resource: Resource) -> int:
        ttl = self.strategy(resource).ttl_seconds
        return await self._leases.lease(ttl) if ttl else 0

    async def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        """NamespaceLifecycle admission: nothing is made in a missing or dying namespace."""
        if not namespace:
            raise BadRequest("an empty namespace may not be set during creation")
        entry = self._cacher[NAMESPACES].get(namespace)
        if entry is not None and entry.fields.get("status.phase") != "Terminating":
            return
        kv, _ = await self._store.get(key_of(NAMESPACES, "", namespace))
        if kv is None:
            raise not_found("namespaces", "", namespace)
        found = from_stored(NAMESPACES, kv.value, kv.mod_revision)
        if found.metadata.deletion_timestamp:
            shown = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            raise Forbidden(
                f'{shown} "{name}" is forbidden: unable to create new content in namespace '
                f"{namespace} because it is being terminated"
            )

    # services' addresses

    def _check_ranges(self, service: Service) -> None:
        """What the user chose must lie in the configured ranges."""
        try:
            problems = allocation.out_of_range(service, self._ranges)
        except ValueError:
            return  # no IP address at all: validation says so
        causes = []
        for kind, index, value in problems:
            if kind == "clusterIP":
                text = (
                    "failed to allocate IP "
                    f"{value}: the provided network does not match the current range"
                )
                causes.append(field.invalid("spec.clusterIPs", [value], text))
            else:
                ports = self._ranges.node_ports
                text = (
                    "provided port is not in the valid range. The range of valid ports is "
                    f"{ports.start}-{ports.stop - 1}"
                )
                causes.append(field.invalid(f"spec.ports[{index}].nodePort", int(value), text))
        if causes:
            raise invalid("Service", "", service.metadata.name, causes)

    def _allocate(self, service: Service) -> Service:
        """Choose what is missing; refuse what the user chose and another service owns."""
        taken = self._cacher.allocations
        try:
            return allocation.allocate(
                service,
                self._ranges,
                taken[CLUSTER_IPS],
                taken[NODE_PORTS],
                self._random.randrange,
            )
        except allocation.Exhausted as error:
            raise InternalError(str(error)) from error

    def _claim(self, obj: ApiObject, held: frozenset[str]) -> list[Change]:
        """The Txn's changes to who owns which address, from `held` to what `obj` says."""
        wanted = allocation.claims(obj) if isinstance(obj, Service) else frozenset()
        owner = f"{obj.metadata.namespace}/{obj.metadata.name}".encode()
        claimed = [Change(key.encode(), 0, owner) for key in sorted(wanted - held)]
        return claimed + [Change(key.encode(), ANY, None) for key in sorted(held - wanted)]

    def _refused_claim(self, chosen: ApiObject, made: ApiObject, outcome: Outcome) -> None:
        """Raise Invalid when an address that the user himself chose belongs to another."""
        if not isinstance(chosen, Service):
            return
        for key in sorted(allocation.claims(chosen)):
            if key.encode() not in outcome.current:
                continue
            value = key.rpartition("/")[2]
            ip = key.startswith(CLUSTER_IPS)
            path = "spec.clusterIPs" if ip else "spec.ports[0].nodePort"
            text = (
                f"failed to allocate IP {value}: provided IP is already allocated"
                if ip
                else "provided port is already allocated"
            )
            shown: Any = [value] if ip else int(value)
            raise invalid("Service", "", made.metadata.name, [field.invalid(path, shown, text)])

    # update

    async def update(
        self, target: Target, obj: ApiObject, options: WriteOptions, admit: Admit = admit_all
    ) -> bytes:
        """PUT: replace what the client may change. With a resourceVersion only that one."""
        check_names(target.resource, obj.metadata, target.namespace, target.name)
        return await self.edit(target, at_once(lambda _: obj), options, admit)

    async def edit(
        self, target: Target, change: Edit, options: WriteOptions, admit: Admit = admit_all
    ) -> bytes:
        """Change the object by a function of its current state (PUT, PATCH, subresources)."""
        resource = target.resource
        current, cached = await self._current(target)
        for _ in range(ATTEMPTS):
            try:
                changed = await change(current.obj)
                new = self._changed(target, current.obj, changed, options, admit)
            except StatusError:
                if not cached:
                    raise
                current, cached = await self._fresh(target), False
                continue
            value = _storable(resource, new)
            finished = deletion.is_finished(new, self.strategy(resource).holds(new))
            if value == current.value and not finished:
                if not cached:
                    return with_revision(resource, value, current.revision)
                # It may only look unchanged because the cache is behind.
                current, cached = await self._fresh(target), False
                continue
            if options.dry_run:
                return with_revision(resource, value, current.revision)
            outcome = await self._replace(target, current, new, None if finished else value)
            if outcome.succeeded:
                return with_revision(resource, value, outcome.revision)
            key = key_of(resource, target.namespace, target.name)
            if key in outcome.current and outcome.current[key].mod_revision == current.revision:
                self._refused_claim(await change(current.obj), new, outcome)
                continue
            current, cached = self._from_kv(target, outcome.current.get(key)), False
        raise conflict(resource.plural, resource.group, target.name)

    def _changed(
        self, target: Target, old: ApiObject, new: ApiObject, options: WriteOptions, admit: Admit
    ) -> ApiObject:
        """The new state as the strategy lets it be. Raises Conflict, Forbidden, Invalid."""
        resource, strategy = target.resource, self.strategy(target.resource)
        # First: a copy that is behind also differs in what its writer may not change, and he
        # must hear that he is to read it again.
        self._check_update_preconditions(target, old, new)
        admit(new, old)
        new = msgspec.structs.replace(new, metadata=carried_over(new.metadata, old.metadata))
        if target.subresource == "status":
            new = strategy.prepare_status(new, old)
        elif not target.subresource:
            new = strategy.prepare_update(strategy.default(new), old)
        if isinstance(new, Service) and not target.subresource:
            self._check_ranges(new)
        if not options.trusted:
            status = target.subresource == "status"
            causes = strategy.validate_status(new) if status else strategy.validate(new)
            if not target.subresource:
                causes = causes + strategy.validate_update(new, old)
            self._raise_if(resource, new, causes)
        if isinstance(new, Service):
            new = self._allocate(new)
        return self._with_generation(strategy, new, old)

    @staticmethod
    def _with_generation(strategy: AnyStrategy, new: ApiObject, old: ApiObject) -> ApiObject:
        if not strategy.has_generation or strategy.spec_of(new) == strategy.spec_of(old):
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
        elif not self.strategy(resource).allow_unconditional_update:
            cause = field.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(resource.kind, resource.group, target.name, [cause])

    async def _replace(
        self, target: Target, current: Stored, new: ApiObject, value: bytes | None
    ) -> Outcome:
        """Write `value` (None: delete) over exactly the state that was decided upon."""
        resource = target.resource
        key = key_of(resource, target.namespace, target.name)
        held = allocation.claims(current.obj) if isinstance(current.obj, Service) else frozenset()
        if value is None:
            released = [Change(claim.encode(), ANY, None) for claim in sorted(held)]
            return await self._commit([Change(key, current.revision, None), *released])
        lease = await self._lease(resource)
        return await self._commit(
            [Change(key, current.revision, value, lease), *self._claim(new, held)]
        )

    # delete

    async def delete(
        self, target: Target, options: DeleteOptions, admit: Admit = admit_all
    ) -> Deleted:
        resource, strategy = target.resource, self.strategy(target.resource)
        if not strategy.may_delete(target.name):
            what = f'{resource.plural} "{target.name}" is forbidden'
            singular = resource.kind.lower()
            raise Forbidden(f"{what}: this {singular} may not be deleted")
        current, cached = await self._current(target)
        dry_run = bool(options.dry_run)
        for _ in range(ATTEMPTS):
            try:
                admit(None, current.obj)
                check_preconditions(resource, current.obj, options.preconditions)
            except (Conflict, Forbidden):
                if not cached:
                    raise
                current, cached = await self._fresh(target), False
                continue
            verdict = deletion.decide(
                current.obj,
                options,
                strategy.grace_seconds(current.obj, options),
                self._clock(),
                strategy.holds(current.obj),
            )
            if isinstance(verdict, deletion.Keep) and cached:
                current, cached = await self._fresh(target), False
                continue
            if isinstance(verdict, deletion.Keep):
                return self._deleted(resource, current.value, current, gone=False)
            value = None
            if isinstance(verdict, deletion.Mark):
                value = to_stored(resource, strategy.mark_deleted(verdict.obj))
            if dry_run:
                return self._deleted(resource, value or current.value, current, gone=value is None)
            outcome = await self._replace(target, current, current.obj, value)
            if outcome.succeeded:
                shown = Stored(current.obj, value or current.value, outcome.revision)
                return self._deleted(resource, shown.value, shown, gone=value is None)
            found = outcome.current.get(key_of(resource, target.namespace, target.name))
            current, cached = self._from_kv(target, found), False
        raise conflict(resource.plural, resource.group, target.name)

    @staticmethod
    def _deleted(resource: Resource, value: bytes, current: Stored, *, gone: bool) -> Deleted:
        data = with_revision(resource, value, current.revision)
        return Deleted(data, gone, current.obj.metadata.uid)

    # the current state

    async def _current(self, target: Target) -> tuple[Stored, bool]:
        """The object, and whether it came from the cache (and may be behind)."""
        resource = target.resource
        key = f"{target.namespace}/{target.name}" if resource.namespaced else target.name
        entry = self._cacher[resource].get(key)
        if entry is not None:
            obj = from_stored(resource, entry.stored, entry.revision)
            return Stored(obj, entry.stored, entry.revision), True
        return await self._fresh(target), False

    async def _fresh(self, target: Target) -> Stored:
        kv, _ = await self._store.get(key_of(target.resource, target.namespace, target.name))
        return self._from_kv(target, kv)

    @staticmethod
    def _from_kv(target: Target, kv: KeyValue | None) -> Stored:
        resource = target.resource
        if kv is None:
            raise not_found(resource.plural, resource.group, target.name)
        obj = from_stored(resource, kv.value, kv.mod_revision)
        return Stored(obj, kv.value, kv.mod_revision)
