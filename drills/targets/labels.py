"""By what the nodes are labelled with."""

from __future__ import annotations

from drills.targets.base import Candidate, View
from drills.targets.spec import Target
from kube.machinery import selectors

ZONE = "topology.kubernetes.io/zone"


async def by_labels(target: Target, left: list[Candidate], _view: View) -> list[Candidate]:
    if not target.labels:
        return left
    wanted = selectors.parse_labels(target.labels)
    return [c for c in left if c.labels is not None and wanted.matches(c.labels)]


async def by_zone(target: Target, left: list[Candidate], _view: View) -> list[Candidate]:
    if not target.zone:
        return left
    return [c for c in left if (c.labels or {}).get(ZONE) == target.zone]
