"""What is wrong with a value by an OpenAPI v3 schema, in apiextensions-apiserver's words. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from kube.api.meta import StatusCause
from kube.machinery.times import parse_time
from master.apiserver.extensions.patterns import matches
from master.apiserver.extensions.structure import INT_OR_STRING, LIST_KEYS, LIST_TYPE
from master.apiserver.registry.validation import field

Json = Any
Props = Mapping[str, Any]
Causes = Iterator[StatusCause]


def problems(value: Json, props: Props, path: str) -> Causes:
    """Lazily: whoever has heard enough stops asking."""
    if value is None and props.get("nullable"):
        return
    type_ = _wrong_type(value, props)
    if type_:
        text = f"{_body(path)} must be of type {type_}: {json.dumps(_type_name(value))}"
        yield field.invalid(path, _type_name(value), text)
        return
    yield from _enum(value, props, path)
    if isinstance(value, dict):
        yield from _of_object(value, props, path)
    elif isinstance(value, list):
        yield from _of_list(value, props, path)
    elif isinstance(value, str):
        yield from _of_text(value, props, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _of_number(value, props, path)
    yield from _of_logic(value, props, path)


def _body(path: str) -> str:
    return f"{path} in body" if path else "in body"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _type_name(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array"


def _wrong_type(value: Json, props: Props) -> str:
    """The type that it should have, if it has another."""
    found = _type_name(value)
    if props.get(INT_OR_STRING):
        return "" if found in ("integer", "string") else "integer,string"
    wanted = props.get("type", "")
    if not wanted or found == wanted or (wanted == "number" and found == "integer"):
        return ""
    return str(wanted)


def _enum(value: Json, props: Props, path: str) -> Causes:
    choices = props.get("enum", ())
    if choices and not any(value == c and type(value) is type(c) for c in choices):
        shown = [c if isinstance(c, str) else json.dumps(c) for c in choices]
        yield field.not_supported(path, value, shown)


def _of_object(value: dict[str, Json], props: Props, path: str) -> Causes:
    for name in props.get("required", ()):
        if name not in value:
            yield field.required(_below(path, name))
    known = props.get("properties", {})
    others = props.get("additionalProperties")
    for name, item in value.items():
        if name in known:
            yield from problems(item, known[name], _below(path, name))
        elif isinstance(others, dict):
            yield from problems(item, others, _below(path, name))
    least, most = props.get("minProperties"), props.get("maxProperties")
    if least is not None and len(value) < least:
        text = f"{_body(path)} should have at least {least} properties"
        yield field.invalid(path, value, text)
    if most is not None and len(value) > most:
        yield field.too_many(path, len(value), most)


def _of_list(value: list[Json], props: Props, path: str) -> Causes:
    items = props.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            yield from problems(item, items, f"{path}[{index}]")
    least, most = props.get("minItems"), props.get("maxItems")
    if least is not None and len(value) < least:
        text = f"{_body(path)} should have at least {least} items"
        yield field.invalid(path, value, text)
    if most is not None and len(value) > most:
        yield field.too_many(path, len(value), most)
    yield from _twice(value, props, path)


def _twice(value: Sequence[Json], props: Props, path: str) -> Causes:
    """Elements of a set, and keys of a map, stand once."""
    if props.get(LIST_TYPE) == "set":
        keys = list(value)
    elif props.get(LIST_TYPE) == "map":
        names = props.get(LIST_KEYS, ())
        keys = [
            {n: item[n] for n in names if n in item} for item in value if isinstance(item, dict)
        ]
    else:
        return
    seen: set[str] = set()
    for index, key in enumerate(keys):
        text = json.dumps(key, sort_keys=True)
        if text in seen:
            yield field.duplicate(f"{path}[{index}]", key)
        seen.add(text)


def _of_text(value: str, props: Props, path: str) -> Causes:
    least, most = props.get("minLength"), props.get("maxLength")
    if least is not None and len(value) < least:
        text = f"{_body(path)} should be at least {least} chars long"
        yield field.invalid(path, value, text)
    if most is not None and len(value) > most:
        yield field.too_long(path, most)
    pattern = props.get("pattern")
    if pattern and not matches(pattern, value):
        yield field.invalid(path, value, f"{_body(path)} should match '{pattern}'")
    form = props.get("format", "")
    check = _FORMATS.get(form)
    if check is not None and not _fits(check, value):
        text = f"{_body(path)} must be of type {form}: {json.dumps(value)}"
        yield field.invalid(path, value, text)


def _fits(check: Callable[[str], object], value: str) -> bool:
    try:
        return check(value) is not False
    except (ValueError, binascii.Error):
        return False


# What Go's strfmt knows and definitions use; others are accepted, as upstream's are.
_FORMATS: Mapping[str, Callable[[str], object]] = {
    "date-time": lambda text: parse_time(text) is not None,
    "date": date.fromisoformat,
    "byte": lambda text: base64.b64decode(text, validate=True),
    "uri": lambda text: bool(urlsplit(text).scheme),
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
    "cidr": lambda text: "/" in text and ip_network(text, strict=False),
    "uuid": UUID,
}


def _of_number(value: float, props: Props, path: str) -> Causes:
    low, high = props.get("minimum"), props.get("maximum")
    if low is not None:
        strict = bool(props.get("exclusiveMinimum"))
        if value < low or (strict and value == low):
            text = "greater than" if strict else "greater than or equal to"
            yield field.invalid(path, value, f"{_body(path)} should be {text} {low:g}")
    if high is not None:
        strict = bool(props.get("exclusiveMaximum"))
        if value > high or (strict and value == high):
            text = "less than" if strict else "less than or equal to"
            yield field.invalid(path, value, f"{_body(path)} should be {text} {high:g}")
    step = props.get("multipleOf")
    if step and not math.isclose(value / step, round(value / step)):
        yield field.invalid(path, value, f"{_body(path)} should be a multiple of {step:g}")
    limit = {"int32": 2**31, "int64": 2**63}.get(props.get("format", ""))
    if limit and not -limit <= value < limit:
        text = f"{_body(path)} must be of type {props['format']}: {json.dumps(value)}"
        yield field.invalid(path, value, text)


def _of_logic(value: Json, props: Props, path: str) -> Causes:
    for schema in props.get("allOf", ()):
        yield from problems(value, schema, path)
    shown = json.dumps(path)
    if (some := props.get("anyOf")) and not any(_valid(value, schema, path) for schema in some):
        text = f"{shown} must validate at least one schema (anyOf)"
        yield field.invalid(path, value, text)
    if one := props.get("oneOf"):
        count = sum(_valid(value, schema, path) for schema in one)
        if count != 1:
            found = f"{count} valid alternatives" if count else "none valid"
            text = f"{shown} must validate one and only one schema (oneOf). Found {found}"
            yield field.invalid(path, value, text)
    banned = props.get("not")
    if banned and _valid(value, banned, path):
        yield field.invalid(path, value, f"{shown} must not validate the schema (not)")


def _valid(value: Json, props: Props, path: str) -> bool:
    return next(problems(value, props, path), None) is None
