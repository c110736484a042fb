"""Amounts of resources as series: CPU in cores, memory in bytes, all else counted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kube.api.base import Quantity
from kube.machinery.quantity import parse
from master.statemetrics.family import Sample

_UNITS = {"cpu": "core", "memory": "byte", "storage": "byte", "ephemeral-storage": "byte"}


def amounts(resources: Mapping[str, Quantity], **labels: str) -> Iterable[Sample]:
    for name, quantity in resources.items():
        unit = _UNITS.get(name) or ("byte" if _in_bytes(name) else "integer")
        resource = re.sub(r"[^a-zA-Z0-9_]", "_", name)
        yield {**labels, "resource": resource, "unit": unit}, float(parse(quantity))


def _in_bytes(name: str) -> bool:
    return name.startswith(("hugepages-", "attachable-volumes-"))
