"""LimitRanges (pkg/apis/core/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.core import LimitRange, LimitRangeItem
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind
from master.apiserver.registry.validation.quota import validate_limit_range


def default(obj: LimitRange) -> LimitRange:
    limits = tuple(_item(item) for item in obj.spec.limits)
    return replace(obj, spec=replace(obj.spec, limits=limits))


def _item(item: LimitRangeItem) -> LimitRangeItem:
    """A container's limit is the most there is, its request the limit, or the least there is."""
    if item.type != "Container":
        return item
    limit = {**item.max, **item.default}
    request = {**item.min, **limit, **item.default_request}
    return replace(item, default=limit, default_request=request)


def cells(obj: LimitRange, _: datetime) -> Cells:
    return [obj.metadata.name, obj.metadata.creation_timestamp]


KIND = Kind(
    resource=resource_for(LimitRange),
    columns=columns("Name Created_At"),
    cells=cells,
    default=default,
    validate=validate_limit_range,
)
