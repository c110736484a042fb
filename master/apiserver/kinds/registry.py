"""Which kinds are served now: a value that changes while the server runs. Pure.

Everything that knows kinds asks it, or follows it by `on_change`: both front ends, discovery,
the schemas, the watch cache; and, by way of the Resources service, controllers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from master.apiserver.kinds.kind import ROOT, AnyKind

_VERSION = re.compile(r"v([0-9]+)(?:(alpha|beta)([0-9]+))?")
_STAGES = {"": 2, "beta": 1, "alpha": 0}
Place = tuple[str, str, str]  # group, version, plural


def priority(version: str) -> tuple[int, int, int, int]:
    """Which version clients should prefer, the highest first: v2, v1, v1beta2, v1alpha1, others."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (0, 0, 0, 0)
    return (1, _STAGES[found[2] or ""], int(found[1]), int(found[3] or 0))


def place_of(kind: AnyKind) -> Place:
    resource = kind.resource
    return resource.group, resource.version, resource.plural


class Registry:
    def __init__(self, kinds: Iterable[AnyKind] = ()) -> None:
        self._served: dict[Place, AnyKind] = {}
        self._preferred: dict[tuple[str, str], AnyKind] = {}
        self._by_prefix: dict[str, AnyKind] = {}
        self._groups: dict[str, dict[str, list[AnyKind]]] = {}
        self._followers: list[Callable[[], None]] = []
        # Grows with every change.
        self.generation = 0
        self.change(add=kinds)

    # changing

    def add(self, *kinds: AnyKind) -> None:
        self.change(add=kinds)

    def remove(self, *kinds: AnyKind) -> None:
        self.change(remove=kinds)

    def change(self, remove: Iterable[AnyKind] = (), add: Iterable[AnyKind] = ()) -> None:
        """At one stroke. Raises ValueError for a name that is taken; then nothing is changed."""
        gone = set(remove)
        served = {place: kind for place, kind in self._served.items() if kind not in gone}
        for kind in add:
            if place_of(kind) in served:
                raise ValueError(f"{kind.resource.plural}.{kind.resource.group} is served already")
            served[place_of(kind)] = kind
        self._served = served
        self._arrange()
        self.generation += 1
        for follow in list(self._followers):
            follow()

    def _arrange(self) -> None:
        kinds = self._served.values()
        self._by_prefix = {kind.prefix: kind.stored for kind in kinds}
        self._groups = {}
        self._preferred = {}
        for kind in kinds:
            group, version, plural = place_of(kind)
            self._groups.setdefault(group, {}).setdefault(version, []).append(kind)
            known = self._preferred.get((group, plural))
            if known is None or priority(version) > priority(known.resource.version):
                self._preferred[group, plural] = kind
        for group, versions in self._groups.items():
            order = sorted(versions, key=priority, reverse=True)
            self._groups[group] = {version: versions[version] for version in order}

    def on_change(self, follow: Callable[[], None]) -> Callable[[], None]:
        """Call after each change; returns what ends that."""
        self._followers.append(follow)
        return lambda: self._followers.remove(follow)

    # asking

    def find(self, group: str, version: str, plural: str) -> AnyKind | None:
        """The kind of that name; without a version the preferred one."""
        if not version:
            return self._preferred.get((group, plural))
        return self._served.get((group, version, plural))

    @property
    def kinds(self) -> tuple[AnyKind, ...]:
        return tuple(self._served.values())

    @property
    def stored(self) -> tuple[AnyKind, ...]:
        """One kind for each that is stored, however many versions it is served in."""
        return tuple(self._by_prefix.values())

    @property
    def groups(self) -> dict[str, dict[str, list[AnyKind]]]:
        """Group, version, kinds; the preferred version of a group comes first."""
        return self._groups

    def at_key(self, key: str) -> tuple[AnyKind, str] | None:
        """The kind that a store key belongs to and the rest of the key (`ns/name` or `name`)."""
        end = key.find("/", len(ROOT))
        # `/registry/pods/`, `/registry/services/specs/`
        for _ in range(2):
            if end < 0:
                return None
            kind = self._by_prefix.get(key[: end + 1])
            if kind is not None:
                return kind, key[end + 1 :]
            end = key.find("/", end + 1)
        return None
