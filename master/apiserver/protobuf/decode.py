"""Protobuf to the plain values that the same object has in JSON. Pure.

The wire: an envelope `k8s\\0` + runtime.Unknown, whose `raw` is the object's message. Field
numbers come from the generated table; numbers that it lacks (newer clients) are skipped.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from master.apiserver.patch.mergekeys import Shape
from master.apiserver.protobuf.numbers import MESSAGES
from muster.api.errors import BadRequest

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Which of our modules' kinds lie where upstream: apiVersion -> package.
_PACKAGES = {"v1": "core.v1", "meta.k8s.io/v1": "meta.v1"}
# Go fields that are values, not pointers: their zero is written here and means "not set".
_ZERO_IS_UNSET = frozenset(
    [
        "minReadySeconds",
        "paused",
        "generation",
        "stdin",
        "stdinOnce",
        "tty",
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "healthCheckNodePort",
        "publishNotReadyAddresses",
        "nodePort",
        "hostPort",
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
        "readOnly",
        "unschedulable",
        "observedGeneration",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "fullyLabeledReplicas",
        "count",
    ]
)
_META_KINDS = ("DeleteOptions",)


class Malformed(ValueError):
    """The bytes are no protobuf of that message."""


def decode_body(body: bytes, shape: Shape) -> dict[str, Any]:
    """An enveloped object to its JSON value. Raises BadRequest."""
    try:
        return _envelope(body, shape)
    except (Malformed, UnicodeDecodeError, struct.error, OverflowError, RecursionError) as error:
        raise BadRequest(f"the protobuf object cannot be read: {error}") from error


def _envelope(body: bytes, shape: Shape) -> dict[str, Any]:
    if not body.startswith(MAGIC):
        raise Malformed("the envelope's prefix is missing")
    raw, api_version, kind = b"", "", ""
    for number, value in _fields(body[len(MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            texts = {n: v.decode() for n, v in _fields(value) if isinstance(v, bytes)}
            api_version, kind = texts.get(1, ""), texts.get(2, "")
        elif number == 2 and isinstance(value, bytes):
            raw = value
    name = _message_name(api_version, kind)
    if name not in MESSAGES:
        raise Malformed(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"apiVersion": api_version, "kind": kind, **_message(raw, name, shape)}


def _message_name(api_version: str, kind: str) -> str:
    if kind in _META_KINDS:
        return f"meta.v1.{kind}"
    package = _PACKAGES.get(api_version)
    if package is None:
        group, _, version = api_version.partition("/")
        package = f"{group.partition('.')[0]}.{version}"
    return f"{package}.{kind}"


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field; a value is a varint or bytes (fixed ones as bytes)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise Malformed(f"wire type {wire} of field {number}")
        if at + size > len(data):
            raise Malformed(f"field {number} is longer than its message")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Malformed("a number does not end")


def _message(data: bytes, name: str, shape: Shape) -> dict[str, Any]:
    known = MESSAGES[name]
    made: dict[str, Any] = {}
    for number, raw in _fields(data):
        if number not in known:
            continue
        field, kind = known[number]
        if kind.startswith("["):
            made.setdefault(field, []).append(_value(raw, kind[1:-1], shape.field(field)))
        elif kind.startswith("{"):
            key, value = _map_entry(raw, kind[1:-1])
            made.setdefault(field, {})[key] = value
        else:
            _put(made, field, _value(raw, kind, shape.field(field)), kind, shape, raw)
    return made


def _put(
    made: dict[str, Any], field: str, value: Any, kind: str, shape: Shape, raw: int | bytes
) -> None:
    """Go's embedded structs are messages of their own here, and inline in JSON."""
    inlined = kind in MESSAGES and not shape.has(field)
    if inlined and isinstance(raw, bytes):
        made |= _message(raw, kind, shape)
    elif value not in ("", None) and (value or field not in _ZERO_IS_UNSET):
        # Go writes empty strings; in JSON they are left out.
        made[field] = value


def _value(raw: int | bytes, kind: str, shape: Shape) -> Any:
    if isinstance(raw, int):
        if kind == "bool":
            return bool(raw)
        return raw - (1 << 64) if raw >= 1 << 63 else raw
    match kind:
        case "string":
            return raw.decode()
        case "bytes":
            return base64.b64encode(raw).decode()
        case "double":
            return struct.unpack("<d", raw)[0]
        case "time" | "microtime":
            return _time(raw, micro=kind == "microtime")
        case "quantity":
            return b"".join(v for n, v in _fields(raw) if n == 1 and isinstance(v, bytes)).decode()
        case "intstr":
            return _int_or_string(raw)
        case "fields":
            return _json_fields(raw)
        case "bool" | "int":
            raise Malformed(f"a {kind} that is no number")
    return _message(raw, kind, shape)


def _map_entry(raw: int | bytes, kind: str) -> tuple[str, Any]:
    if isinstance(raw, int):
        raise Malformed("a map entry that is no message")
    entry = dict(_fields(raw))
    key, value = entry.get(1, b""), entry.get(2, b"")
    if isinstance(key, int):
        raise Malformed("a map key that is no string")
    return key.decode(), _value(value, kind, Shape())


def _time(raw: bytes, *, micro: bool) -> str | None:
    """Seconds and nanoseconds; Go's zero time, an empty message, is absent in JSON."""
    parts = {number: value for number, value in _fields(raw) if isinstance(value, int)}
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if seconds >= 1 << 63:
        seconds -= 1 << 64
    if seconds <= 0 and not nanos:
        return None
    when = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _int_or_string(raw: bytes) -> int | str:
    parts = dict(_fields(raw))
    text = parts.get(3, b"")
    if parts.get(1) == 1:
        return text.decode() if isinstance(text, bytes) else ""
    number = parts.get(2, 0)
    if not isinstance(number, int):
        raise Malformed("an int that is no number")
    return number - (1 << 64) if number >= 1 << 63 else number


def _json_fields(raw: bytes) -> Any:
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            try:
                return msgspec.json.decode(value)
            except msgspec.MsgspecError as error:
                raise Malformed(str(error)) from error
    return None
