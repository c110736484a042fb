"""Plain values to typed objects, as Go's decoder takes them; every kind of body ends here.

One walk drops nulls, brings times and quantities into their stored form, notices unknown fields
and bounds the depth. The conversion itself is msgspec's.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import msgspec

from kube.machinery import quantity
from kube.machinery.errors import BadRequest
from master.apiserver.decoding import limits
from master.apiserver.decoding.goerrors import explain
from master.apiserver.decoding.jsontext import decode_json
from master.apiserver.decoding.shapes import Field, StructType, fields_of, time_plan
from master.apiserver.decoding.times import NotATime, is_stored_form, to_stored_form

S = TypeVar("S", bound=msgspec.Struct)
Json = Any
# A client that sends a thousand wrong fields need not hear of each (kjson stops there, too).
MAX_TOLD = 100


class _Wrong(ValueError):
    """What Go's decoder would say of a value."""


def to_typed(type_: type[S], value: Json, what: str) -> S:
    """Plain values to a struct. `what` names the kind in the error. Raises BadRequest."""
    cleaned: Json = None
    try:
        cleaned = cleaned_value(value, type_)
        return msgspec.convert(cleaned, type_)
    except msgspec.ValidationError as error:
        raise _refused(what, type_, explain(str(error), type_, cleaned)) from error
    except (_Wrong, NotATime, RecursionError) as error:
        raise _refused(what, type_, str(error)) from error


def _refused(what: str, type_: StructType, why: str) -> BadRequest:
    return BadRequest(f"{what} cannot be handled as a {type_.__name__}: {why}")


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
        if text and not is_stored_form(text, kind):
            return False
    for attribute, below in plan.below:
        value = getattr(obj, attribute)
        if not value:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if not times_stored(item, below):
                return False
    return True


def cleaned_value(value: Json, type_: StructType | None, depth: int = 0) -> Json:
    """Without nulls and unknown fields, times and quantities in stored form."""
    if depth > limits.MAX_DEPTH:
        raise _Wrong("exceeded max depth")
    if isinstance(value, list):
        return [cleaned_value(item, type_, depth + 1) for item in value if item is not None]
    if not isinstance(value, dict):
        return value
    if type_ is None:
        return {
            key: cleaned_value(item, None, depth + 1)
            for key, item in value.items()
            if item is not None
        }
    made: dict[str, Json] = {}
    fields = fields_of(type_)
    for key, item in value.items():
        field = fields.get(key)
        if field is not None and item is not None:
            made[key] = _cleaned_field(item, field, depth)
    return made


def _cleaned_field(item: Json, field: Field, depth: int) -> Json:
    if field.time is not None:
        return _time(item, field)
    if field.quantities and isinstance(item, dict):
        return {name: _quantity(amount) for name, amount in item.items() if amount is not None}
    if isinstance(item, dict | list):
        return cleaned_value(item, field.struct, depth + 1)
    return item


def _time(item: Json, field: Field) -> Json:
    if not isinstance(item, str):
        raise _Wrong(f"json: cannot unmarshal {_kind(item)} into Go value of type string")
    assert field.time is not None
    return to_stored_form(item, field.time)


def _quantity(amount: Json) -> Json:
    """A number becomes its text, as it is stored."""
    if isinstance(amount, str):
        return amount
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
        raise _Wrong(quantity.NOT_A_QUANTITY)
    return quantity.canonical(amount)


def _kind(item: Json) -> str:
    return "bool" if isinstance(item, bool) else "number"


def unknown_fields(value: Json, type_: StructType | None) -> list[str]:
    """`unknown field "spec.foo"` for the fields that the types do not have: the first hundred."""
    found: list[str] = []
    _collect_unknown(value, type_, "", found)
    return found


def _collect_unknown(value: Json, type_: StructType | None, path: str, found: list[str]) -> None:
    if type_ is None or len(found) >= MAX_TOLD:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _collect_unknown(item, type_, f"{path}[{index}]", found)
    elif isinstance(value, dict):
        fields = fields_of(type_)
        for key, item in value.items():
            if len(found) >= MAX_TOLD:
                return
            field = fields.get(key)
            if field is None:
                here = f"{path}.{key}" if path else key
                found.append(f'unknown field "{here}"')
            elif field.struct is not None and isinstance(item, dict | list):
                _collect_unknown(item, field.struct, f"{path}.{key}" if path else key, found)
