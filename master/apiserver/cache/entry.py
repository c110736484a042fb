"""One cached object: its bytes as clients see them, and what selectors look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kube.machinery.selectors import EVERYTHING, FieldRequirement, Selector, fields_match
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.storage.codec import with_revision, without_revision
from master.apiserver.storage.fields import Selectable, selectable


@dataclass(frozen=True, slots=True)
class Entry:
    """`data` is the object's JSON with its resourceVersion in it."""

    key: str  # "namespace/name" or "name"
    revision: int
    data: bytes
    namespace: str
    name: str
    labels: Mapping[str, str]
    fields: Mapping[str, str]

    @property
    def stored(self) -> bytes:
        """The value in the store. Made when it is asked for: both of each object would be twice
        the memory."""
        return without_revision(self.data, self.revision)


def make_entry(kind: AnyKind, key: str, stored: bytes, revision: int) -> Entry:
    seen: Selectable = selectable(kind, stored)
    namespace, _, name = key.rpartition("/")
    return Entry(
        key=key,
        revision=revision,
        data=with_revision(kind, stored, revision),
        namespace=namespace,
        name=name,
        labels=seen.labels,
        fields=seen.fields,
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries a list or watch wants."""

    namespace: str = ""
    labels: Selector = EVERYTHING
    fields: tuple[FieldRequirement, ...] = ()

    @property
    def everything(self) -> bool:
        return not (self.namespace or self.labels.requirements or self.fields)

    def matches(self, entry: Entry) -> bool:
        if self.namespace and entry.namespace != self.namespace:
            return False
        if self.labels.requirements and not self.labels.matches(entry.labels):
            return False
        return not self.fields or fields_match(self.fields, entry.fields)
