"""What Go's decoder says of a value of the wrong type, from what msgspec says. Pure.

`json: cannot unmarshal number 99999999999 into Go struct field DeploymentSpec.spec.replicas of
type int32`: clients and people know these words. Where in a list it was, Go does not tell;
msgspec's path does, and stands behind.
"""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from kube.api.base import Int32, Int64, Quantity
from kube.machinery import quantity
from kube.machinery.schema import bare, schema_of

_PATH = re.compile(r" - at `(?:key in )?\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[([0-9]+|\.\.\.)\]")
_GO = {str: "string", bool: "bool", float: "float64", bytes: "[]uint8", Any: "interface {}"}
_MISSING = object()


def explain(text: str, type_: type[msgspec.Struct], value: Any) -> str:
    """Go's words for the ValidationError `text` about `value`; `text` itself if we cannot tell."""
    found = _PATH.search(text)
    if found is None:
        return (
            text
            if isinstance(value, dict)
            else _unmarshal(value, "Go value", f"v1.{type_.__name__}")
        )
    hint: Any = type_
    owner, names = type_.__name__, []
    for name, index in _STEP.findall(found[1]):
        if name:
            struct = bare(hint)
            if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
                return text
            owner = struct.__name__
            names.append(name)
            hint = _field_hint(struct, name)
            value = value.get(name, _MISSING) if isinstance(value, dict) else _MISSING
        else:
            hint, value = _element(hint), _item(value, index, _element(hint))
    if hint is None or value is _MISSING:
        return text
    if hint == Quantity:
        return quantity.NOT_A_QUANTITY
    place = f"Go struct field {owner}.{'.'.join(names)}"
    return f"{_unmarshal(value, place, _go_type(hint))} - at `${found[1]}`"


def _unmarshal(value: Any, place: str, go_type: str) -> str:
    return f"json: cannot unmarshal {_json_kind(value, go_type)} into {place} of type {go_type}"


def _field_hint(struct: type[msgspec.Struct], name: str) -> Any:
    known = schema_of(struct).fields.get(name)
    return known.hint if known is not None else None


def _element(hint: Any) -> Any:
    plain = bare(hint)
    if get_origin(plain) is tuple:
        return get_args(plain)[0]
    return get_args(plain)[1] if get_origin(plain) is dict else None


def _item(value: Any, index: str, hint: Any) -> Any:
    if isinstance(value, list) and index.isdecimal() and int(index) < len(value):
        return value[int(index)]
    if isinstance(value, dict):  # msgspec does not say which key
        return next((item for item in value.values() if not _fits(item, hint)), _MISSING)
    return _MISSING


def _fits(item: Any, hint: Any) -> bool:
    try:
        msgspec.convert(item, hint)
    except msgspec.ValidationError:
        return False
    return True


def _go_type(hint: Any) -> str:
    plain = bare(hint)
    if get_origin(plain) in (Union, UnionType):  # a number or a text
        plain = get_args(plain)[0]
    if plain == Int32:
        return "int32"
    if plain == Int64:
        return "int64"
    if get_origin(plain) is Annotated:
        return "string"
    if get_origin(plain) is tuple:
        return f"[]{_go_type(get_args(plain)[0])}"
    if get_origin(plain) is dict:
        return f"map[string]{_go_type(get_args(plain)[1])}"
    return _GO.get(plain) or f"v1.{getattr(plain, '__name__', plain)}"


def _json_kind(value: Any, go_type: str) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        whole = go_type in ("int32", "int64")
        return f"number {str(value)[:40]}" if whole else "number"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "string"
