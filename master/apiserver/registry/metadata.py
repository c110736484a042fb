"""Rules for metadata that all kinds share (apiserver registry/rest: create.go, update.go). Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from kube.api.meta import ObjectMeta, Preconditions
from kube.machinery.errors import BadRequest, Conflict, conflict
from kube.machinery.scheme import ApiObject, Resource

T = TypeVar("T", bound=ApiObject)
# Names made from generateName end in five of these (no vowels: no words; apimachinery's rand).
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
MAX_GENERATED_PREFIX = 63 - SUFFIX_LENGTH


def timestamp(now: datetime) -> str:
    """metav1.Time: RFC 3339 in whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_metadata(meta: ObjectMeta, *, namespace: str, name: str, uid: str, now: str) -> ObjectMeta:
    """Metadata of an object about to be created: what only the system may set is set afresh."""
    return msgspec.structs.replace(
        meta,
        namespace=namespace,
        name=name,
        uid=uid,
        creation_timestamp=now,
        deletion_timestamp="",
        deletion_grace_period_seconds=None,
        resource_version="",
        self_link="",
        generation=None,
    )


def generated_name(prefix: str, suffix: str) -> str:
    return prefix[:MAX_GENERATED_PREFIX] + suffix


def carried_over(new: ObjectMeta, old: ObjectMeta) -> ObjectMeta:
    """Metadata of an update: the client cannot change what identifies the object or its life."""
    finalizers = new.finalizers
    if old.deletion_timestamp:
        # A dying object may lose finalizers, never gain them.
        finalizers = tuple(f for f in new.finalizers if f in old.finalizers)
    return msgspec.structs.replace(
        new,
        name=old.name,
        namespace=old.namespace,
        uid=old.uid,
        creation_timestamp=old.creation_timestamp,
        deletion_timestamp=old.deletion_timestamp,
        deletion_grace_period_seconds=old.deletion_grace_period_seconds,
        generation=old.generation,
        generate_name=new.generate_name or old.generate_name,
        resource_version="",
        self_link="",
        finalizers=finalizers,
        managed_fields=new.managed_fields or old.managed_fields,
    )


def with_meta(obj: T, **changes: object) -> T:
    """The object with changed metadata fields."""
    return msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, **changes))


def check_names(resource: Resource, meta: ObjectMeta, namespace: str, name: str) -> None:
    """The body must agree with the URL. Raises BadRequest with upstream's texts."""
    if resource.namespaced and meta.namespace and meta.namespace != namespace:
        raise BadRequest(
            f"the namespace of the provided object does not match the namespace sent on the "
            f"request (namespace of provided object: {meta.namespace}, namespace sent: "
            f"{namespace})"
            if not namespace
            else "the namespace of the provided object does not match the namespace sent on "
            "the request"
        )
    if name and meta.name and meta.name != name:
        raise BadRequest(
            f"the name of the object ({meta.name}) does not match the name on the URL ({name})"
        )


def check_preconditions(
    resource: Resource, current: ApiObject, wanted: Preconditions | None
) -> None:
    """Raises Conflict unless uid and resourceVersion are as the caller demands."""
    if wanted is None:
        return
    meta = current.metadata
    if wanted.uid and wanted.uid != meta.uid:
        raise _failed(resource, meta.name, "UID", wanted.uid, meta.uid)
    if wanted.resource_version and wanted.resource_version != meta.resource_version:
        raise _failed(
            resource, meta.name, "ResourceVersion", wanted.resource_version, meta.resource_version
        )


def _failed(resource: Resource, name: str, what: str, wanted: str, found: str) -> Conflict:
    why = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
    return conflict(resource.plural, resource.group, name, why)
