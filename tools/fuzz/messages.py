"""Random requests by reflection: fields of any message type, from values that mean something."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

# Few names, so that requests meet.
KEYS = (b"a", b"b", b"b/1", b"c", b"\xff\xff", b"d" * 300)
_ENDS = (*KEYS, b"\0", b"", b"b0", b"\xff")
_NAMES = ("root", "ann", "bob") * 4 + ("", "x" * 200, "\u00e9\0")
_URLS = ("http://127.0.0.1:1", "https://h:2380", "http://[::1", "ftp://x:1", "", "http://x:99999")
_TEXTS: dict[str, Sequence[str]] = {
    "peerURLs": _URLS,
    "clientURLs": _URLS,
    "version": ("3.5", "v3.4.0", "x", ""),
}
_BYTES: dict[str, Sequence[bytes]] = {"key": KEYS, "name": KEYS, "range_end": _ENDS}
_NUMBERS = (0, 0, 1, 2, 3, 4, 5, 7, 60, 1 << 31, (1 << 63) - 1)
_MOST_ITEMS = 4
_DEPTH = 5


def filled(rng: random.Random, message: Message, known: Sequence[int], depth: int = 0) -> Message:
    """`message` with some of its fields set. `known` are numbers that mean something just now."""
    fields: Sequence[Any] = message.DESCRIPTOR.fields
    for field in fields:
        if field.containing_oneof is not None:
            # One of a kind, and mostly one: an empty choice is refused at once.
            options = field.containing_oneof.fields
            if field is options[0] and rng.random() < 0.97:
                _set(rng, message, rng.choice(options), known, depth)
        elif rng.random() < (0.95 if field.name in _BYTES else 0.5):
            _set(rng, message, field, known, depth)
    return message


def _set(
    rng: random.Random, message: Any, field: FieldDescriptor, known: Sequence[int], depth: int
) -> None:
    if field.message_type is not None:
        if depth < _DEPTH:
            _set_message(rng, message, field, known, depth)
        return
    value = _value(rng, field, known)
    if field.is_repeated:
        values = [_value(rng, field, known) for _ in range(rng.randrange(_MOST_ITEMS))]
        getattr(message, field.name).extend(values)
    else:
        setattr(message, field.name, value)


def _set_message(
    rng: random.Random, message: Any, field: FieldDescriptor, known: Sequence[int], depth: int
) -> None:
    if not field.is_repeated:
        child = getattr(message, field.name)
        child.SetInParent()
        filled(rng, child, known, depth + 1)
        return
    for _ in range(rng.randrange(_MOST_ITEMS)):
        filled(rng, getattr(message, field.name).add(), known, depth + 1)


def _value(rng: random.Random, field: FieldDescriptor, known: Sequence[int]) -> Any:
    made = _MAKERS.get(field.cpp_type)
    assert made is not None, f"no value for {field.full_name}"
    return made(rng, field, known)


def _number(rng: random.Random, field: FieldDescriptor, known: Sequence[int]) -> int:
    signed = field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    bits = 31 if field.cpp_type in _OF_32_BITS else 63
    number = rng.choice(known if rng.random() < 0.5 else _NUMBERS)
    number &= (1 << bits) - 1
    return -number if signed and rng.random() < 0.05 else number


def _bytes(rng: random.Random, field: FieldDescriptor, _: Sequence[int]) -> bytes:
    if field.name in _BYTES:
        return rng.choice(_BYTES[field.name])
    return rng.randbytes(rng.choice((0, 1, 20, 20, 500)))


def _enum(rng: random.Random, field: FieldDescriptor, _: Sequence[int]) -> int:
    assert field.enum_type is not None
    if rng.random() < 0.1:
        return rng.choice((7, 99, -1, (1 << 31) - 1))
    return int(rng.choice(field.enum_type.values).number)


_OF_32_BITS = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32)
_MAKERS: dict[int, Callable[[random.Random, FieldDescriptor, Sequence[int]], Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: lambda rng, _, __: rng.random() < 0.5,
    FieldDescriptor.CPPTYPE_ENUM: _enum,
    FieldDescriptor.CPPTYPE_STRING: lambda rng, field, known: (
        _bytes(rng, field, known)
        if field.type == FieldDescriptor.TYPE_BYTES
        else rng.choice(_TEXTS.get(field.name, _NAMES))
    ),
    FieldDescriptor.CPPTYPE_INT32: _number,
    FieldDescriptor.CPPTYPE_INT64: _number,
    FieldDescriptor.CPPTYPE_UINT32: _number,
    FieldDescriptor.CPPTYPE_UINT64: _number,
}


def nested(rng: random.Random, inner: bytes, levels: int) -> bytes:
    """A TxnRequest in a TxnRequest in ..., around the encoded TxnRequest `inner`."""
    branch = rng.choice((b"\x12", b"\x1a"))  # success, failure
    for _ in range(levels):
        op = b"\x22" + _varint(len(inner)) + inner  # RequestOp.request_txn
        inner = branch + _varint(len(op)) + op
    return inner


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
