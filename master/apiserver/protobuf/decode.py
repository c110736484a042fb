"""Protobuf to the plain values that the same object has in JSON. Pure.

The wire: an envelope `k8s\\0` + runtime.Unknown, whose `raw` is the object's message. Field
numbers come from the generated table; numbers that it lacks (newer clients) are skipped.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from kube.machinery.errors import BadRequest
from master.apiserver.decoding import limits

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_UINT64 = (1 << 64) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Message -> field number -> (JSON name, kind).
Messages = Mapping[str, Mapping[int, tuple[str, str]]]
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


# Go's integers, and how many bits of each a signed number has.
_WIDTHS = {"int32": 31, "int64": 63}


@cache
def _messages() -> Messages:
    """Read when the first client sends protobuf: our own components never do."""
    from master.apiserver.protobuf.numbers import MESSAGES

    return MESSAGES


class Malformed(ValueError):
    """The bytes are no protobuf of that message."""


@dataclass(slots=True)
class _Budget:
    """What is left of the fields that one object may have, and of its depth."""

    fields: int = limits.MAX_VALUES
    levels: int = limits.MAX_DEPTH

    def spend(self) -> None:
        self.fields -= 1
        if self.fields < 0:
            raise limits.too_many_values()


def decode_body(body: bytes) -> dict[str, Any]:
    """An enveloped object to its JSON value. Raises BadRequest, TooLarge."""
    try:
        return _envelope(body)
    except (Malformed, UnicodeDecodeError, struct.error, OverflowError, RecursionError) as error:
        raise BadRequest(f"the protobuf object cannot be read: {error}") from error


def _envelope(body: bytes) -> dict[str, Any]:
    if not body.startswith(MAGIC):
        raise Malformed("the envelope's prefix is missing")
    raw, api_version, kind, budget = b"", "", "", _Budget()
    for number, value in _fields(body[len(MAGIC) :], budget):
        if number == 1 and isinstance(value, bytes):
            texts = {n: v.decode() for n, v in _fields(value, budget) if isinstance(v, bytes)}
            api_version, kind = texts.get(1, ""), texts.get(2, "")
        elif number == 2 and isinstance(value, bytes):
            raw = value
    name = _message_name(api_version, kind)
    if name not in _messages():
        raise Malformed(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"apiVersion": api_version, "kind": kind, **_message(raw, name, budget)}


def _message_name(api_version: str, kind: str) -> str:
    if kind in _META_KINDS:
        return f"meta.v1.{kind}"
    package = _PACKAGES.get(api_version)
    if package is None:
        group, _, version = api_version.partition("/")
        package = f"{group.partition('.')[0]}.{version}"
    return f"{package}.{kind}"


def _fields(data: bytes, budget: _Budget) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field; a value is a varint or bytes (fixed ones as bytes)."""
    at, end = 0, len(data)
    while at < end:
        budget.spend()
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = _varint(data, at - 1)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES and at < end and data[at] <= 0x7F:  # nearly all are short
            size = data[at]
            at += 1
        elif wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise Malformed(f"wire type {wire} of field {number}")
        if at + size > end:
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
            return value & _UINT64, at
        shift += 7
    raise Malformed("a number does not end")


def _message(data: bytes, name: str, budget: _Budget) -> dict[str, Any]:
    budget.levels -= 1
    if budget.levels < 0:
        raise Malformed("exceeded max depth")
    known = _messages()[name]
    made: dict[str, Any] = {}
    for number, raw in _fields(data, budget):
        if number not in known:
            continue
        field, kind = known[number]
        if kind.startswith("["):
            item = _value(raw, kind[1:-1], budget, field)
            made.setdefault(field, []).append(item)
        elif kind.startswith("{"):
            key, value = _map_entry(raw, kind[1:-1], budget)
            made.setdefault(field, {})[key] = value
        elif kind.startswith("<"):
            if isinstance(raw, bytes):
                made |= _message(raw, kind[1:-1], budget)
        else:
            _put(made, field, raw, kind, budget)
    budget.levels += 1
    return made


def _put(made: dict[str, Any], field: str, raw: int | bytes, kind: str, budget: _Budget) -> None:
    value = _value(raw, kind, budget, field)
    if value not in ("", None) and (value or field not in _ZERO_IS_UNSET):
        # Go writes empty strings; in JSON they are left out.
        made[field] = value


def _value(raw: int | bytes, kind: str, budget: _Budget, field: str) -> Any:
    if isinstance(raw, int):
        if kind == "bool":
            return bool(raw)
        return _integer(raw, kind, field)
    match kind:
        case "string":
            return raw.decode()
        case "bytes":
            return base64.b64encode(raw).decode()
        case "double":
            return struct.unpack("<d", raw)[0]
        case "time" | "microtime":
            return _time(raw, budget, micro=kind == "microtime")
        case "quantity":
            return b"".join(
                v for n, v in _fields(raw, budget) if n == 1 and isinstance(v, bytes)
            ).decode()
        case "intstr":
            return _int_or_string(raw, budget, field)
        case "json":
            return _json(raw, budget)
        case "schema-or-array" | "schema-or-bool" | "schema-or-strings":
            return _schema_or(raw, kind, budget)
        case "strings":
            return [v.decode() for n, v in _fields(raw, budget) if n == 1 and isinstance(v, bytes)]
        case "bool" | "int32" | "int64":
            raise Malformed(f"a {kind} that is no number")
    return _message(raw, kind, budget)


def _schema_or(raw: bytes, kind: str, budget: _Budget) -> Any:
    """A JSON schema, or what may stand in its place (apiextensions JSONSchemaPropsOr...)."""
    schema: Any = None
    others: list[Any] = []
    allowed = False
    for number, value in _fields(raw, budget):
        if isinstance(value, int):
            allowed = bool(value)
        elif number == (2 if kind == "schema-or-bool" else 1):
            schema = _message(value, "apiextensions.v1.JSONSchemaProps", budget)
        elif kind == "schema-or-array":
            others.append(_message(value, "apiextensions.v1.JSONSchemaProps", budget))
        else:
            others.append(value.decode())
    if schema is not None:
        return schema
    return allowed if kind == "schema-or-bool" else others


def _integer(raw: int, kind: str, field: str) -> int:
    """A negative number of either width is written as 64 bits. Go cuts off what is over 32."""
    if kind not in _WIDTHS:
        raise Malformed(f"a number in field {field}, which is no number")
    value = raw - (1 << 64) if raw >= 1 << 63 else raw
    bits = _WIDTHS[kind]
    if not -(1 << bits) <= value < 1 << bits:
        raise Malformed(f"number {value} in field {field} of type {kind}")
    return value


def _map_entry(raw: int | bytes, kind: str, budget: _Budget) -> tuple[str, Any]:
    if isinstance(raw, int):
        raise Malformed("a map entry that is no message")
    entry = dict(_fields(raw, budget))
    key, value = entry.get(1, b""), entry.get(2, b"")
    if isinstance(key, int):
        raise Malformed("a map key that is no string")
    return key.decode(), _value(value, kind, budget, "of a map")


def _time(raw: bytes, budget: _Budget, *, micro: bool) -> str | None:
    """Seconds and nanoseconds; Go's zero time, an empty message, is absent in JSON."""
    parts = {number: value for number, value in _fields(raw, budget) if isinstance(value, int)}
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if seconds >= 1 << 63:
        seconds -= 1 << 64
    if seconds <= 0 and not nanos:
        return None
    if not 0 <= nanos < 10**9:
        raise Malformed(f"{nanos} nanoseconds of a second")
    when = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _int_or_string(raw: bytes, budget: _Budget, field: str) -> int | str:
    parts = dict(_fields(raw, budget))
    text = parts.get(3, b"")
    if parts.get(1) == 1:
        return text.decode() if isinstance(text, bytes) else ""
    number = parts.get(2, 0)
    if not isinstance(number, int):
        raise Malformed("an int that is no number")
    return _integer(number, "int32", field)


def _json(raw: bytes, budget: _Budget) -> Any:
    for number, value in _fields(raw, budget):
        if number == 1 and isinstance(value, bytes):
            limits.check_json(value)
            try:
                return msgspec.json.decode(value)
            except msgspec.MsgspecError as error:
                raise Malformed(str(error)) from error
    return None
