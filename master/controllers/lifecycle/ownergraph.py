"""Who owns whom, for the garbage collector: a graph of object metadata by uid. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from kube.api.meta import ObjectMeta, OwnerReference
from kube.machinery.scheme import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Item:
    """What the graph knows of one object."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    owners: tuple[OwnerReference, ...]
    deleting: bool
    finalizers: tuple[str, ...]

    @property
    def deletes_dependents_first(self) -> bool:
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        return self.deleting and ORPHAN in self.finalizers


def item_of(resource: Resource, meta: ObjectMeta) -> Item:
    return Item(
        resource=resource,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        owners=meta.owner_references,
        deleting=bool(meta.deletion_timestamp),
        finalizers=meta.finalizers,
    )


@dataclass(slots=True)
class OwnerGraph:
    """Objects by uid, and for each uid those that name it as an owner, existing or not."""

    items: dict[str, Item] = field(default_factory=dict)
    _dependents: dict[str, dict[str, None]] = field(default_factory=dict)

    def put(self, item: Item) -> None:
        self._unlink(item.uid)
        self.items[item.uid] = item
        for ref in item.owners:
            self._dependents.setdefault(ref.uid, {})[item.uid] = None

    def drop(self, uid: str) -> None:
        self._unlink(uid)
        self.items.pop(uid, None)

    def dependents(self, uid: str) -> list[Item]:
        return [self.items[key] for key in self._dependents.get(uid, ())]

    def blocking_dependents(self, uid: str) -> list[Item]:
        """Those that a foreground deletion of the owner waits for."""
        return [
            item
            for item in self.dependents(uid)
            if any(ref.uid == uid and ref.block_owner_deletion for ref in item.owners)
        ]

    def _unlink(self, uid: str) -> None:
        known = self.items.get(uid)
        for ref in known.owners if known is not None else ():
            keys = self._dependents.get(ref.uid, {})
            keys.pop(uid, None)
            if not keys:
                self._dependents.pop(ref.uid, None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an object by the state of its owners.

    `policy` "" keeps it; else it is deleted that way. `drop` are references to take off.
    """

    policy: str = ""
    drop: tuple[str, ...] = ()


def judge(
    item: Item, absent: frozenset[str], waiting: frozenset[str], has_dependents: bool
) -> Verdict:
    """`absent` are the uids of its owners that are gone, `waiting` those of owners that are
    being deleted and wait for it (garbagecollector.go, attemptToDeleteItem)."""
    solid = [ref for ref in item.owners if ref.uid not in absent | waiting]
    if solid:
        return Verdict(drop=tuple(sorted(absent | waiting)))
    if not item.owners:
        return Verdict()
    if waiting and has_dependents:
        return Verdict(policy="Foreground")
    if ORPHAN in item.finalizers:
        return Verdict(policy="Orphan")
    return Verdict(policy="Foreground" if FOREGROUND in item.finalizers else "Background")
