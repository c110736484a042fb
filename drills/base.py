"""The base of all in a drill's document: frozen, camelCase outside, unknown fields refused.

Pure.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

NAME_PATTERN = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
LABEL_PATTERN = "^[a-z][a-z0-9_]{0,30}$"

Name = Annotated[str, Meta(pattern=NAME_PATTERN, description="A DNS label: a-z, 0-9 and '-'.")]
Key = Annotated[
    str,
    Meta(pattern=LABEL_PATTERN, description="A name that figures are called by: a-z, 0-9, '_'."),
]
Seconds = Annotated[float, Meta(ge=0, le=86400, description="Seconds.")]
Percent = Annotated[float, Meta(gt=0, le=100)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Strict(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of every stanza."""


class ByProfile(Strict, frozen=True, kw_only=True):
    """A number that depends on the lab's timer profile."""

    fast: float
    kubernetes: float


Number = float | ByProfile


def of(number: Number, profile: str) -> float:
    """The number for the lab's timer profile."""
    if isinstance(number, ByProfile):
        return number.kubernetes if profile == "kubernetes" else number.fast
    return number
