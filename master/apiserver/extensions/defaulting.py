"""The defaults that a definition's schema gives. Pure.

What has none below costs nothing: a schema becomes a function once, or None.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

Json = Any
Props = Mapping[str, Any]
# The value with defaults; the very same one where there was nothing to add.
Fill = Callable[[Json], Json]


def filler_of(props: Props) -> Fill | None:
    match props.get("type"):
        case "object":
            return _object(props)
        case "array":
            items = props.get("items")
            below = filler_of(items) if isinstance(items, dict) else None
            return _every_item(below) if below else None
    return None


def _object(props: Props) -> Fill | None:
    known: Mapping[str, Props] = props.get("properties", {})
    given = {name: field["default"] for name, field in known.items() if "default" in field}
    nullable = {name for name, field in known.items() if field.get("nullable")}
    below = {name: inner for name, field in known.items() if (inner := filler_of(field))}
    rest = props.get("additionalProperties")
    others = filler_of(rest) if isinstance(rest, dict) else None
    if not (given or below or others):
        return None

    def fill(value: Json) -> Json:
        if not isinstance(value, dict):
            return value
        changes = {
            name: copy.deepcopy(default)
            for name, default in given.items()
            if name not in value or (value[name] is None and name not in nullable)
        }
        whole = value | changes if changes else value
        for name, item in whole.items():
            deeper = below.get(name) or (None if name in known else others)
            filled = deeper(item) if deeper else item
            if filled is not item:
                changes[name] = filled
        return value | changes if changes else value

    return fill


def _every_item(below: Fill) -> Fill:
    def fill(value: Json) -> Json:
        if not isinstance(value, list):
            return value
        filled = [below(item) for item in value]
        return filled if any(a is not b for a, b in zip(filled, value, strict=True)) else value

    return fill
