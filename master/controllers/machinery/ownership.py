"""Owner references: who controls what, and which orphans a controller takes in.

Follows upstream's ControllerRefManager: an object with another controller is left alone,
one of ours that no longer matches is released, a matching orphan is adopted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from kube.api.meta import ObjectMeta, OwnerReference
from kube.machinery.scheme import ApiObject, resource_for
from kube.machinery.selectors import Selector

T = TypeVar("T", bound=ApiObject)


def controller_of(meta: ObjectMeta) -> OwnerReference | None:
    """The one reference with `controller: true`."""
    for ref in meta.owner_references:
        if ref.controller:
            return ref
    return None


def controller_ref(owner: ApiObject) -> OwnerReference:
    """The reference that makes `owner` the controller of an object."""
    resource = resource_for(type(owner))
    return OwnerReference(
        api_version=resource.api_version,
        kind=resource.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


@dataclass(frozen=True, slots=True)
class Claim(Generic[T]):
    """Which objects are the owner's now, and which become or stop being so."""

    owned: tuple[T, ...]
    adopt: tuple[T, ...]
    release: tuple[T, ...]


def claim(owner: ApiObject, selector: Selector, objects: Iterable[T]) -> Claim[T]:
    """Sort `objects` of the owner's namespace into owned, to adopt and to release."""
    owned: list[T] = []
    adopt: list[T] = []
    release: list[T] = []
    leaving = bool(owner.metadata.deletion_timestamp)
    for obj in objects:
        ref = controller_of(obj.metadata)
        matches = selector.matches(obj.metadata.labels)
        if ref is not None and ref.uid == owner.metadata.uid:
            if matches:
                owned.append(obj)
            elif not leaving:
                release.append(obj)
        elif ref is None and matches and not leaving and not obj.metadata.deletion_timestamp:
            adopt.append(obj)
    return Claim(tuple(owned), tuple(adopt), tuple(release))


def adopted(obj: T, owner: ApiObject) -> T:
    """`obj` with `owner` as its controller."""
    refs = (*obj.metadata.owner_references, controller_ref(owner))
    return with_owners(obj, refs)


def released(obj: T, owner_uid: str) -> T:
    """`obj` without its reference to the owner."""
    refs = tuple(ref for ref in obj.metadata.owner_references if ref.uid != owner_uid)
    return with_owners(obj, refs)


def with_owners(obj: T, refs: tuple[OwnerReference, ...]) -> T:
    meta = msgspec.structs.replace(obj.metadata, owner_references=refs)
    return msgspec.structs.replace(obj, metadata=meta)
