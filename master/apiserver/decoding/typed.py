"""Plain values to typed objects, as Go's decoder takes them; every kind of body ends here.

One walk drops nulls, brings times and quantities into their stored form, notices unknown fields
and bounds the depth. The conversion itself is msgspec's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from kube.machinery import quantity
from kube.machinery.errors import BadRequest
from kube.machinery.schema import OPEN, Schema, StructType, schema_of, time_plan
from master.apiserver.decoding import limits
from master.apiserver.decoding.goerrors import explain
from master.apiserver.decoding.jsontext import decode_json
from master.apiserver.decoding.times import NotATime, is_stored_form, to_stored_form

S = TypeVar("S", bound=msgspec.Struct)
Json = Any
# A client that sends a thousand wrong fields need not hear of each (kjson stops there, too).
MAX_TOLD = 100
_CONTAINERS = (dict, list)


class _Wrong(ValueError):
    """What Go's decoder would say of a value."""


def to_typed(type_: type[S], value: Json, what: str) -> S:
    """Plain values to a struct. `what` names the kind in the error. Raises BadRequest."""
    cleaned: Json = None
    try:
        cleaned = cleaned_value(value, schema_of(type_))
        return msgspec.convert(cleaned, type_)
    except msgspec.ValidationError as error:
        raise refused(what, type_.__name__, explain(str(error), type_, cleaned)) from error
    except (_Wrong, NotATime, RecursionError) as error:
        raise refused(what, type_.__name__, str(error)) from error


def refused(what: str, kind: str, why: str) -> BadRequest:
    return BadRequest(f"{what} cannot be handled as a {kind}: {why}")


def decode_fast(type_: type[S], body: bytes, what: str) -> S:
    """For our own components, whose JSON is canonical: one pass; the slow way if it fails."""
    limits.check_json(body)
    try:
        made = msgspec.json.decode(body, type=type_)
        if times_stored(made, type_):
            return made
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # the slow way says what is wrong
    return to_typed(type_, decode_json(body), what)


def times_stored(obj: msgspec.Struct, type_: StructType) -> bool:
    """Whether every time of the object is in stored form."""
    plan = time_plan(type_)
    for attribute, kind in plan.own:
        text = getattr(obj, attribute)
        if text and not (isinstance(text, str) and is_stored_form(text, kind)):
            return False
    for attribute, below in plan.below:
        value = getattr(obj, attribute)
        if not value:
            continue
        for item in _structs_in(value):
            if not times_stored(item, below):
                return False
    return True


def _structs_in(value: Any) -> Iterable[msgspec.Struct]:
    if isinstance(value, tuple):
        return value
    return value.values() if isinstance(value, dict) else (value,)


def cleaned_value(value: Json, schema: Schema, depth: int = 0) -> Json:
    """Without nulls and unknown fields, times and quantities in stored form."""
    if depth > limits.MAX_DEPTH:
        raise _Wrong("exceeded max depth")
    if isinstance(value, dict):
        if schema.kind == "struct":
            return _cleaned_struct(value, schema, depth)
        items = schema.items or OPEN
        return {
            key: cleaned_value(item, items, depth + 1)
            if items.converted or isinstance(item, _CONTAINERS)
            else item
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        # A list where a struct is expected is refused later, with all that is in it.
        below = schema if schema.kind == "struct" else schema.items or OPEN
        return [cleaned_value(item, below, depth + 1) for item in value if item is not None]
    return _converted(value, schema) if schema.converted else value


def _cleaned_struct(value: dict[str, Json], schema: Schema, depth: int) -> dict[str, Json]:
    made: dict[str, Json] = {}
    fields = schema.fields
    for key, item in value.items():
        field = fields.get(key)
        if item is None:
            if field is not None and field.schema.nullable:
                made[key] = None
            continue
        if field is None:
            if schema.preserves:
                made[key] = cleaned_value(item, OPEN, depth + 1)
            continue
        if field.converted or isinstance(item, _CONTAINERS):
            item = cleaned_value(item, field.schema, depth + 1)
        made[key] = item
    return made


def _converted(item: Json, schema: Schema) -> Json:
    if schema.format == "quantity":
        return _quantity(item)
    if not isinstance(item, str):
        raise _Wrong(f"json: cannot unmarshal {_kind(item)} into Go value of type string")
    assert schema.format == "Time" or schema.format == "MicroTime"
    return to_stored_form(item, schema.format)


def _quantity(amount: Json) -> Json:
    """A number becomes its text, as it is stored."""
    if isinstance(amount, str):
        return amount
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
        raise _Wrong(quantity.NOT_A_QUANTITY)
    return quantity.canonical(amount)


def _kind(item: Json) -> str:
    return "bool" if isinstance(item, bool) else "number"


def unknown_fields(value: Json, schema: Schema) -> list[str]:
    """`unknown field "spec.foo"` for the fields that the types do not have: the first hundred."""
    found: list[str] = []
    _collect_unknown(value, schema, "", found)
    return found


def _collect_unknown(value: Json, schema: Schema, path: str, found: list[str]) -> None:
    if schema.kind in ("open", "scalar") or len(found) >= MAX_TOLD:
        return
    if isinstance(value, list):
        element = schema if schema.kind == "struct" else schema.items or OPEN
        for index, item in enumerate(value):
            if isinstance(item, _CONTAINERS):
                _collect_unknown(item, element, f"{path}[{index}]", found)
    elif isinstance(value, dict):
        fields, items = schema.fields, schema.items
        for key, item in value.items():
            if len(found) >= MAX_TOLD:
                return
            known = fields.get(key)
            if known is not None:
                if known.holds_structs and isinstance(item, _CONTAINERS):
                    _collect_unknown(item, known.schema, _below(path, key), found)
            elif items is None and not schema.preserves:
                found.append(f'unknown field "{_below(path, key)}"')
            elif items is not None and isinstance(item, _CONTAINERS):
                _collect_unknown(item, items, _below(path, key), found)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
