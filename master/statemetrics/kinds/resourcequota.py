"""ResourceQuotas. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import ResourceQuota
from kube.machinery.quantity import parse
from master.statemetrics.family import Family, Sample, StateKind
from master.statemetrics.metadata import created, identity


def _amounts(quota: ResourceQuota) -> Iterable[Sample]:
    for type_, resources in (("hard", quota.status.hard), ("used", quota.status.used)):
        for resource, quantity in resources.items():
            yield {"resource": resource, "type": type_}, float(parse(quantity))


KIND = StateKind(
    "resourcequotas",
    ResourceQuota,
    identity("resourcequota"),
    (
        created("kube_resourcequota"),
        Family("kube_resourcequota", "What may be used, and what is.", _amounts),
    ),
)
