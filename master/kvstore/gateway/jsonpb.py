"""Protobuf messages as JSON in the dialect of Go's jsonpb, which etcd's gateway speaks.

64-bit integers are strings, bytes base64, enums their names, and what is not set is left out.
Names are the .proto file's; camelCase is understood, too. What is not known is ignored. Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message

_BLANK = re.compile(r"[ \t\r\n]*")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_WIDE = (
    FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64
)  # fmt: skip
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), 1 << 31),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), 1 << 63),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1 << 32),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1 << 64),
}
# Python reads JSON without giving other threads a turn. No transaction has so many values; a blob
# is one.
_MAX_VALUES = 100_000
_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


class BadJson(ValueError):
    """The request is no JSON, or not of the message asked for."""


# -- reading


def values(text: str) -> Iterator[Any]:
    """The JSON values that stand in a row. Raises BadJson where one is broken."""
    if sum(map(text.count, "{[,")) > _MAX_VALUES:
        raise BadJson("too many values")
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    at = _past_blanks(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise BadJson(_what_is_wrong(text, error)) from error
        yield value
        at = _past_blanks(text, at)


def _what_is_wrong(text: str, error: Exception) -> str:
    """In Go's words, where they are few."""
    if isinstance(error, json.JSONDecodeError):
        if error.pos >= len(text.rstrip()):
            return "unexpected EOF"
        if error.msg == "Expecting value":
            return f"invalid character {text[error.pos]!r} looking for beginning of value"
    return f"invalid JSON: {error}"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _past_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None, "nothing matches, too"
    return found.end()


def message_of(kind: type[Message], value: Any) -> Message:
    """What is nested deeper than a decoder takes is refused here: members could not read it."""
    message = kind()
    try:
        if value is not None:
            _fill(message, value)
        return kind.FromString(message.SerializeToString())
    except (RecursionError, DecodeError, EncodeError) as error:
        raise BadJson("nested too deeply") from error


def _fill(message: Message, value: Any) -> None:
    if not isinstance(value, dict):
        go = "Go value of type map[string]json.RawMessage"
        raise BadJson(f"json: cannot unmarshal {_kind(value)} into {go}")
    fields = _fields_by_name(message.DESCRIPTOR)
    for name, one in value.items():
        field = fields.get(name)
        if field is not None and one is not None:
            _set(message, field, one)


@cache
def _fields_by_name(kind: Descriptor) -> dict[str, FieldDescriptor]:
    return {name: field for field in kind.fields for name in (field.name, field.json_name)}


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    if field.is_repeated:
        if not isinstance(value, list):
            raise BadJson(f"json: cannot unmarshal {_kind(value)} into a list")
        into = getattr(message, field.name)
        for one in value:
            if field.message_type is not None:
                _fill(into.add(), {} if one is None else one)
            else:
                into.append(_scalar(field, one))
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()  # an empty one counts, too: it chooses what a request does
        _fill(inner, value)
    else:
        setattr(message, field.name, _scalar(field, value))


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.cpp_type in _RANGES:
        return _integer(field, value)
    if field.enum_type is not None:
        return _enum(field.enum_type, value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if isinstance(value, bool):
            return value
    elif field.type == FieldDescriptor.TYPE_BYTES:
        if isinstance(value, str):
            return _bytes(value)
    elif isinstance(value, str):
        return _text(value)
    raise BadJson(f"json: cannot unmarshal {_kind(value)} into {field.full_name}")


def _integer(field: FieldDescriptor, value: Any) -> int:
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise BadJson(f"invalid number {value[:40]!r} for {field.full_name}")
        value = int(value)
    least, end = _RANGES[field.cpp_type]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < end:
        raise BadJson(f"json: cannot unmarshal {_kind(value)} into {field.full_name}")
    return value


def _enum(kind: EnumDescriptor, value: Any) -> int:
    if isinstance(value, str) and value in kind.values_by_name:
        return int(kind.values_by_name[value].number)
    if isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31:
        return value
    name = kind.full_name.replace(".", "_").replace("_", ".", 1)  # as Go calls nested types
    shown = json.dumps(value)[:80]
    raise BadJson(f"unknown value {shown} for enum {name}")


def _bytes(value: str) -> bytes:
    try:
        return base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        wrong = re.search(r"[^A-Za-z0-9+/]", value)
        at = wrong.start() if wrong else len(value)
        raise BadJson(f"illegal base64 data at input byte {at}") from error


def _text(value: str) -> str:
    """JSON may escape half a surrogate pair; Go puts U+FFFD in its place."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "bool"}
    return names.get(type(value), "number")


# -- writing


def json_of(message: Message) -> bytes:
    return dumped(_open(message))


def dumped(value: Any) -> bytes:
    """As Go writes it: safe to stand in HTML."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_ESCAPES).encode("utf-8", "replace")


def _open(message: Message) -> dict[str, Any]:
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: FieldDescriptor, value: Any) -> Any:
    shown = _shown(field)
    return [shown(one) for one in value] if field.is_repeated else shown(value)


def _shown(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return _open
    if field.cpp_type in _WIDE:
        return str
    if field.enum_type is not None:
        names = field.enum_type.values_by_number
        return lambda number: names[number].name if number in names else number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda data: base64.b64encode(data).decode()
    return lambda value: value
