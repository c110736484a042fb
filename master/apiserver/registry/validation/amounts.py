"""An amount that is a number or a percentage of something (IntOrString). Pure."""

from __future__ import annotations

import re

from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field

Causes = list[StatusCause]
Amount = int | str | None
PERCENT = re.compile(r"[0-9]{1,9}%")
_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
    "'93%', regex used for validation is '[0-9]+%')"
)


def validate_amount(path: str, value: Amount) -> Causes:
    """Neither negative nor a text that is no percentage (ValidatePositiveIntOrPercent)."""
    if isinstance(value, str):
        return [] if PERCENT.fullmatch(value) else [field.invalid(path, value, _PERCENT_TEXT)]
    if value is not None and value < 0:
        return [field.invalid(path, value, "must be greater than or equal to 0")]
    return []


def validate_share(path: str, value: Amount) -> Causes:
    """At most all of it (IsNotMoreThan100Percent)."""
    if isinstance(value, str) and PERCENT.fullmatch(value) and number_of(value) > 100:
        return [field.invalid(path, value, "must not be greater than 100%")]
    return []


def number_of(value: Amount) -> int:
    """The number, or that before the percent sign; 0 for what is neither."""
    if isinstance(value, str):
        return int(value[:-1]) if PERCENT.fullmatch(value) else 0
    return value or 0
