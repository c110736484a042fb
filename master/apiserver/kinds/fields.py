"""The selectable fields of a kind (upstream: each strategy's `SelectableFields`). Pure.

Reading them decodes only the part of the object that they lie in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct


class MetaPart(Struct, rename="camel", frozen=True):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}


class Part(Struct, rename="camel", frozen=True):
    """What selectors see of any object; a kind's own part adds to it."""

    metadata: MetaPart = MetaPart()


def no_fields(_: Any) -> dict[str, str]:
    """Of a kind that selects by name and namespace only."""
    return {}


class Fields:
    """The part to decode, and the values of its field labels."""

    def __init__(
        self, part: type[Part] = Part, values: Callable[[Any], dict[str, str]] = no_fields
    ) -> None:
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(part).decode
        self.values = values


def text(value: bool) -> str:
    return "true" if value else "false"
