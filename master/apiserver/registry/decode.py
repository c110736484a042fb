"""From request bodies to typed objects: nulls, unknown fields, wrong types, upstream's texts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from master.apiserver.patch.mergekeys import Shape
from muster.api.errors import BadRequest

S = TypeVar("S", bound=msgspec.Struct)
# etcd's default request limit; upstream's limit for resource bodies is twice that.
MAX_BODY_BYTES = 3 * 512 * 1024


@dataclass(slots=True)
class Problems:
    """What strict decoding finds: unknown and duplicate fields."""

    found: list[str] = field(default_factory=list)


def decode_json(body: bytes, problems: Problems | None = None) -> Any:
    """The body as plain values; duplicate keys are noted. Raises BadRequest."""
    try:
        if problems is None:
            return msgspec.json.decode(body)
        return json.loads(body, object_pairs_hook=lambda pairs: _pairs(pairs, problems))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(f"the object provided is unrecognized: {error}") from error


def _pairs(pairs: list[tuple[str, Any]], problems: Problems) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            problems.found.append(f'duplicate field "{key}"')
        made[key] = value
    return made


def without_nulls(value: Any) -> Any:
    """null means absent, in maps and (as in Go's decoder) anywhere else in a typed object."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value if item is not None]
    return value


def to_typed(type_: type[S], value: Any, what: str) -> S:
    """Plain values to a struct. `what` names the kind in the error. Raises BadRequest."""
    try:
        return msgspec.convert(without_nulls(value), type_)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadRequest(f"{what} cannot be handled as a {type_.__name__}: {error}") from error


def unknown_fields(value: Any, shape: Shape, path: str = "") -> list[str]:
    """`unknown field "spec.foo"` for every field that the types do not have."""
    if shape.type is None:
        return []
    if isinstance(value, list):
        return [
            text
            for index, item in enumerate(value)
            for text in unknown_fields(item, shape, f"{path}[{index}]")
        ]
    if not isinstance(value, dict):
        return []
    known = {f.encode_name for f in msgspec.structs.fields(shape.type)}
    found = []
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        if key not in known:
            found.append(f'unknown field "{here}"')
        else:
            found += unknown_fields(item, shape.field(key), here)
    return found


def decode_fast(type_: type[S], body: bytes, what: str) -> S:
    """For our own components, whose JSON is canonical: one pass; the slow way if it fails."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.MsgspecError:
        return to_typed(type_, decode_json(body), what)
