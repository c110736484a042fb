"""Kubernetes' published schema of one minor, as the package `kubernetes-validate` carries it.

Read by the generators only (a development dependency). A definition is named
`io.k8s.api.core.v1.Pod`; here it has a place, the module and class that are made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Definition = Mapping[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_API = "io.k8s.api."
# Groups that upstream keeps in repositories of their own.
_ELSEWHERE = {
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.": "apiextensions",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.": "apiregistration",
}
# What JSON has as one value, whatever Go makes of it.
SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    f"{META}Time": "time",
    f"{META}MicroTime": "microtime",
}
# What every client may send to any kind; with the lists they are no kinds of their own.
_GA = re.compile(r"v[0-9]+")
# Groups that are generally available and deliberately not served (docs/api.md).
_NOT_SERVED = ("resource", "storagemigration")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a definition's struct is: `kube.api.<module>.<name>`."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@cache
def directory() -> Path:
    """The schema of the newest minor that the package carries."""
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise SystemExit("kubernetes-validate is not installed: run `make setup`")
    schemas = Path(spec.origin).parent / "kubernetes-json-schema"
    return max(schemas.glob("v*-local"), key=_version)


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", path.name))


@cache
def definitions() -> Mapping[str, Definition]:
    """Full name to definition."""
    found: Mapping[str, Definition] = json.loads((directory() / "_definitions.json").read_text())[
        "$defs"
    ]
    return found


def place_of(name: str) -> Place:
    """`io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler` is in `autoscaling_v2`."""
    if name.startswith("io.k8s.apimachinery.pkg."):
        return Place("meta", name.rpartition(".")[2])
    for prefix, group in _ELSEWHERE.items():
        if name.startswith(prefix):
            version, _, short = name.removeprefix(prefix).partition(".")
            return Place(_module(group, version), short)
    group, version, short = name.removeprefix(_API).split(".")
    return Place(_module(group, version), short)


def _module(group: str, version: str) -> str:
    return group if version == "v1" else f"{group}_{version}"


def group_version_kind(name: str) -> tuple[str, str] | None:
    """(apiVersion, kind) of a definition that is one; of those that every group has, v1's."""
    known = definitions()[name].get("x-kubernetes-group-version-kind", ())
    if not known or name.startswith(META):
        kinds = ("Status", "DeleteOptions")
        short = name.rpartition(".")[2]
        return ("v1", short) if name.startswith(META) and short in kinds else None
    group, version = known[0]["group"], known[0]["version"]
    return (f"{group}/{version}" if group else version, known[0]["kind"])


def kinds() -> list[str]:
    """Every generally available kind, lists left out: 69 in 1.37."""
    return [
        name
        for name, definition in definitions().items()
        if "metadata" in definition.get("properties", {})
        and "x-kubernetes-group-version-kind" in definition
        and not name.startswith(META)
        and not name.endswith("List")
        and _GA.fullmatch(name.split(".")[-2])
        and name.split(".")[-3] not in _NOT_SERVED
    ]


def references(value: Any) -> Iterator[str]:
    """The definitions that a schema mentions, in order."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield item.rpartition("/")[2]
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
