"""Resource quantities: "100m" CPU, "64Mi" memory (apimachinery's resource.Quantity)."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from kube.api.base import Quantity

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
}
NOT_A_QUANTITY = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
# What is larger counts as this much, what is finer is rounded up to it (resource.Quantity).
LARGEST, FINEST = Decimal(2**63 - 1), Decimal("1e-9")
# More digits than any amount has, and few enough that a product of two is quickly made.
_MAX_TEXT = 64
_MAX_EXPONENT = 100
_PATTERN = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([eE][+-]?[0-9]+|[KMGTPE]i|[numkMGTPE])?"
)


def parse(value: Quantity) -> Decimal:
    """The exact number. Raises ValueError with upstream's text for what is no quantity."""
    if not isinstance(value, str):
        return _bounded(Decimal(str(value)))
    match = _PATTERN.fullmatch(value) if len(value) <= _MAX_TEXT else None
    if not match:
        raise ValueError(NOT_A_QUANTITY)
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        return _bounded(number * _BINARY[suffix])
    if suffix in _DECIMAL:
        return _bounded(number * _DECIMAL[suffix])
    # An exponent of nine digits would make a number of a billion.
    exponent = min(max(int(suffix[1:]), -_MAX_EXPONENT), _MAX_EXPONENT)
    return _bounded(number.scaleb(exponent))


def _bounded(number: Decimal) -> Decimal:
    if number.is_nan() or abs(number) > LARGEST:
        return LARGEST if number.is_nan() or number > 0 else -LARGEST
    return FINEST.copy_sign(number) if 0 < abs(number) < FINEST else number


def milli(value: Quantity) -> int:
    """In thousandths, rounded up: what CPU is counted in."""
    return int((parse(value) * 1000).to_integral_value(ROUND_CEILING))


def whole(value: Quantity) -> int:
    """In units, rounded up: bytes of memory, number of pods."""
    return int(parse(value).to_integral_value(ROUND_CEILING))


def canonical(value: Quantity) -> str:
    """The string form that the API stores: a number becomes its text, text stays."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not value.is_integer():
        return f"{milli(value)}m"
    return str(whole(value))
