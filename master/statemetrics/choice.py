"""Which kinds and families are served, as kube-state-metrics' flags say it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from master.statemetrics.family import StateKind
from master.statemetrics.kinds import KINDS
from master.statemetrics.metadata import allowed

# One resource of an allow list: `pods=[app,team]`.
_ENTRY = re.compile(r"=?([a-z*]+)=\[([^\]]*)\]")
Keys = Mapping[str, tuple[str, ...]]


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def keys_by_resource(text: str) -> dict[str, tuple[str, ...]]:
    """`pods=[app,team],nodes=[*]`. Raises ValueError for anything else."""
    entries = _ENTRY.findall(text)
    if _ENTRY.sub("", text).strip(", "):
        raise ValueError(f"expected RESOURCE=[KEY,...],..., got {text!r}")
    return {resource: names(keys) for resource, keys in entries}


@dataclass(frozen=True, slots=True)
class Choice:
    """`resources` empty: the default ones. Families match whole names by regular expression."""

    resources: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    labels: Keys = field(default_factory=dict)
    annotations: Keys = field(default_factory=dict)

    def kinds(self) -> tuple[StateKind[Any], ...]:
        """Raises ValueError for a resource that has no series."""
        known = {kind.resource: kind for kind in KINDS}
        for name in (*self.resources, *self.labels, *self.annotations):
            if name not in known and name != "*":
                raise ValueError(
                    f"resource {name} does not exist. Available resources: {', '.join(known)}"
                )
        wanted = self.resources or [kind.resource for kind in KINDS if kind.default]
        return tuple(self._families(known[name]) for name in dict.fromkeys(wanted))

    def _families(self, kind: StateKind[Any]) -> StateKind[Any]:
        families = (*kind.families, *self._metadata(kind))
        return replace(kind, families=tuple(f for f in families if self._served(f.name)))

    def _metadata(self, kind: StateKind[Any]) -> Iterable[Any]:
        prefix = f"kube_{kind.type.__name__.lower().removesuffix('s')}"
        for what, keys in (("label", self.labels), ("annotation", self.annotations)):
            wanted = keys.get(kind.resource) or keys.get("*") or ()
            if wanted:
                yield allowed(f"{prefix}_{what}s", what, wanted, attrgetter(f"metadata.{what}s"))

    def _served(self, name: str) -> bool:
        if self.allow and not any(re.fullmatch(pattern, name) for pattern in self.allow):
            return False
        return not any(re.fullmatch(pattern, name) for pattern in self.deny)
