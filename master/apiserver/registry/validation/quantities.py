"""Amounts of named resources: what quotas, ranges, claims and volumes say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from kube.api.base import Quantity
from kube.api.meta import StatusCause
from kube.machinery import quantity
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import qualified_name

Causes = list[StatusCause]
NOT_NEGATIVE = "must be greater than or equal to 0"
POSITIVE = "must be greater than zero"
STORAGE = "storage"
CONTAINER = ("cpu", "memory", "ephemeral-storage")
# Counted in whole numbers; so are all resources with a domain.
COUNTED = (
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
    "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
)  # fmt: skip
_STANDARD_TEXT = "must be a standard resource type or fully qualified"


def is_huge(name: str) -> bool:
    return name.startswith("hugepages-")


def parsed(value: Quantity) -> Decimal | None:
    try:
        return quantity.parse(value)
    except ValueError:
        return None


def validate_resource_name(name: str, path: str, standard: tuple[str, ...]) -> Causes:
    """A resource that is known by that bare name, or has a domain."""
    if why := qualified_name(name):
        return [field.invalid(path, name, why)]
    if "/" in name or name in standard or is_huge(name):
        return []
    return [field.invalid(path, name, _STANDARD_TEXT)]


def validate_quantity(path: str, value: Quantity, *, positive: bool = False) -> Causes:
    number = parsed(value)
    if number is None:
        return [field.invalid(path, value, quantity.NOT_A_QUANTITY)]
    if positive and number <= 0:
        return [field.invalid(path, str(value), POSITIVE)]
    return [field.invalid(path, str(value), NOT_NEGATIVE)] if number < 0 else []


def validate_amount_of(name: str, path: str, value: Quantity) -> Causes:
    """Not negative, and whole where things are counted."""
    causes = validate_quantity(path, value)
    number = parsed(value)
    counted = "/" in name or name in COUNTED
    if not causes and number is not None and counted and number != number.to_integral_value():
        causes.append(field.invalid(path, str(value), "must be an integer"))
    return causes


def exceeds(one: Mapping[str, Quantity], other: Mapping[str, Quantity], name: str) -> bool:
    """Whether both say how much of a resource, and the first more than the second."""
    if name not in one or name not in other:
        return False
    left, right = parsed(one[name]), parsed(other[name])
    return left is not None and right is not None and left > right
