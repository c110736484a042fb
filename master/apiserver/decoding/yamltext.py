"""YAML to the plain values that its JSON would have, event by event.

libyaml finds the events in C; they are put together here, so that a limit stops a document where
it is reached, an alias counts as all that it stands for, and others are served in between. Not
`yaml.safe_load`: that builds everything in one piece, and an alias costs nothing until the value
is walked. Scalars are resolved as go-yaml does: a time stays text, `yes` is true.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from kube.machinery.errors import BadRequest
from master.apiserver.decoding import limits
from master.apiserver.decoding.jsontext import Problems, decode_json

# libyaml, where PyYAML was built with it (its wheels are); else its own parser, ten times slower.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Events in one piece: the slow parser, too, gives these within some ten milliseconds.
_PIECE = 250
_MAX_INT_DIGITS = 100

_WORDS: dict[str, Any] = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"), None)
    | dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True)
    | dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False)
)
_INT = re.compile(r"([-+]?)(?:0b([01_]+)|0x([0-9a-fA-F_]+)|0o?([0-7_]+)|([0-9][0-9_]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MERGE = "<<"
_TAG = "tag:yaml.org,2002:"


class _Wrong(ValueError):
    """The document is no YAML that stands for JSON."""


@dataclass(slots=True)
class _Open:
    """A map or list that is being read. `key` is the key whose value comes next."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    before: int  # values counted when it began
    key: Any = None
    has_key: bool = False
    merges: list[Any] = field(default_factory=list)


async def decode_yaml(
    body: bytes, problems: Problems | None = None, most: int = limits.MAX_VALUES
) -> Any:
    """The one document of `body`. Raises BadRequest, TooLarge."""
    if body.lstrip()[:1] in (b"{", b"["):
        # JSON is YAML; kubectl sends its apply patches so.
        try:
            return decode_json(body, problems, most)
        except BadRequest:
            pass  # flow style, perhaps
    try:
        return await _Builder(problems, most).read(body)
    except (yaml.YAMLError, _Wrong, ValueError, RecursionError) as error:
        raise BadRequest(f"error parsing YAML: {error}") from error


class _Builder:
    def __init__(self, problems: Problems | None, most: int) -> None:
        self._problems = problems
        self._most = most
        self._count = 0
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._open: list[_Open] = []
        self._documents: list[Any] = []

    async def read(self, body: bytes) -> Any:
        if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
            raise _Wrong("yaml: the document is not UTF-8")
        loader = _Loader(body)
        try:
            events = 0
            while (event := loader.get_event()) is not None:
                self._take(event)
                events += 1
                if events % _PIECE == 0:
                    await asyncio.sleep(0)
        finally:
            loader.dispose()
        return self._documents[0] if self._documents else None

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._counted(1)
                value = _scalar(event)
                if event.anchor:
                    self._anchors[event.anchor] = value, 1
                self._put(value, event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(event)
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise _Wrong(f"yaml: unknown anchor '{event.anchor}' referenced")
                value, size = self._anchors[event.anchor]
                self._counted(size)
                self._put(value, event)
            case yaml.DocumentStartEvent() if self._documents:
                raise _Wrong("expected a single document in the stream")

    def _counted(self, values: int) -> None:
        self._count += values
        if self._count > self._most:
            raise limits.too_many_values(self._most)

    def _begin(self, event: Any) -> None:
        self._counted(1)
        if len(self._open) >= limits.MAX_DEPTH:
            raise _Wrong("exceeded max depth")
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if mapping else "seq")):
            raise _Wrong(f"could not determine a constructor for the tag '{event.tag[:100]}'")
        self._open.append(_Open({} if mapping else [], event.anchor, self._count - 1))

    def _end(self, event: yaml.Event) -> None:
        done = self._open.pop()
        if isinstance(done.value, dict):
            for merged in done.merges:
                self._merge(done.value, merged)
        if done.anchor:
            self._anchors[done.anchor] = done.value, self._count - done.before
        self._put(done.value, event)

    def _merge(self, into: dict[str, Any], source: Any) -> None:
        for each in source if isinstance(source, list) else [source]:
            if not isinstance(each, dict):
                raise _Wrong("yaml: map merge requires map or sequence of maps as the value")
            self._counted(len(each))
            for key, value in each.items():
                into.setdefault(key, value)

    def _put(self, value: Any, event: yaml.Event) -> None:
        if not self._open:
            self._documents.append(value)
            return
        top = self._open[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif not top.has_key:
            plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
            top.key = _MERGE if plain and value == _MERGE else _key(value)
            top.has_key = True
        elif top.key == _MERGE:
            top.merges.append(value)
            top.has_key = False
        else:
            if top.key in top.value and self._problems:
                self._problems.note(f'key "{top.key}" already set in map')
            top.value[top.key] = value
            top.has_key = False


def _key(value: Any) -> str:
    """JSON's keys are text."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, dict | list):
        raise _Wrong("yaml: a key of a map must be text, a number or a boolean")
    return msgspec.json.encode(value).decode()


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.tag in (None, "!"):
        # implicit[0]: written without quotes.
        return _resolved(text) if event.implicit[0] else text
    match event.tag.removeprefix(_TAG):
        case "str" | "timestamp":
            return text
        case "int" | "float" | "bool" | "null":
            return _resolved(text)
        case "binary":
            try:
                return base64.b64decode(text).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise _Wrong(
                    f"yaml: !!binary value contains invalid base64 data: {error}"
                ) from error
    raise _Wrong(f"could not determine a constructor for the tag '{event.tag[:100]}'")


def _resolved(text: str) -> Any:
    """What an unquoted scalar stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if len(text) <= _MAX_INT_DIGITS and (found := _INT.fullmatch(text)):
        return _whole(*found.groups())
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise _Wrong(f"yaml: {text[:50]} is no number that JSON has")
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return text


def _whole(sign: str, binary: str, hexadecimal: str, octal: str, decimal: str) -> int:
    digits, base = next(
        (digits, base)
        for digits, base in ((binary, 2), (hexadecimal, 16), (octal, 8), (decimal, 10))
        if digits is not None
    )
    number = int(digits.replace("_", "") or "0", base)
    return -number if sign == "-" else number
