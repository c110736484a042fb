"""LimitRanges. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import LimitRange
from kube.machinery.quantity import parse
from master.statemetrics.family import Family, Sample, StateKind
from master.statemetrics.metadata import created, identity


def _limits(limitrange: LimitRange) -> Iterable[Sample]:
    for item in limitrange.spec.limits:
        for constraint, resources in (
            ("min", item.min),
            ("max", item.max),
            ("default", item.default),
            ("defaultRequest", item.default_request),
            ("maxLimitRequestRatio", item.max_limit_request_ratio),
        ):
            for resource, quantity in resources.items():
                labels = {"resource": resource, "type": item.type, "constraint": constraint}
                yield labels, float(parse(quantity))


KIND = StateKind(
    "limitranges",
    LimitRange,
    identity("limitrange"),
    (
        created("kube_limitrange"),
        Family("kube_limitrange", "Its limits and defaults.", _limits),
    ),
)
