"""The JSONPath that Kubernetes takes in printer columns, scale paths and selectable fields. Pure.

`.spec.replicas`, `.metadata.annotations['a.b/c']`, `.list[0]`, `.list[*].name`,
`.status.conditions[?(@.type=="Ready")].status`; a dot in a name is written `\\.`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

Json = Any
_Step = Callable[[Json], Iterator[Json]]
_TOKEN = re.compile(
    r"""\.?(?P<name>(?:\\.|[^.\[\]\\'"\s])+)
    |\['(?P<quoted>[^']*)'\]|\["(?P<double>[^"]*)"\]
    |\[(?P<index>-?[0-9]+)\]
    |(?:\.|\[)(?P<all>\*)\]?
    |\[\?\(@(?P<path>(?:\.(?:\\.|[^.\[\]\\'"\s=!<>()])+)+)\s*
        (?P<op>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|true|false|-?[0-9.]+)\)\]""",
    re.VERBOSE,
)


class JsonPathError(ValueError):
    """The text is no JSONPath that is known here."""


class JsonPath:
    """A parsed path; `find` gives every value that it leads to."""

    def __init__(self, text: str) -> None:
        self._steps = list(_parsed(text.strip().removeprefix("{").removesuffix("}").strip()))

    def find(self, value: Json) -> list[Json]:
        found = [value]
        for step in self._steps:
            found = [below for item in found for below in step(item)]
        return found

    def first(self, value: Json) -> Json:
        """None where the path leads nowhere."""
        found = self.find(value)
        return found[0] if found else None


def _parsed(text: str) -> Iterator[_Step]:
    text = text.removeprefix("$")
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.end() == at:
            raise JsonPathError(f"unrecognized text in the path: {text[at : at + 40]}")
        yield _step(found)
        at = found.end()


def _step(found: re.Match[str]) -> _Step:
    if found["all"]:
        return _every
    if found["index"] is not None:
        return _indexed(int(found["index"]))
    if found["op"]:
        return _filtered(JsonPath(found["path"]), found["op"] == "==", _literal(found["value"]))
    if found["name"] is not None:
        return _named(re.sub(r"\\(.)", r"\1", found["name"]))
    return _named(found["quoted"] if found["quoted"] is not None else found["double"])


def _literal(text: str) -> Json:
    return text[1:-1] if text[0] in "'\"" else json.loads(text)


def _named(name: str) -> _Step:
    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _indexed(index: int) -> _Step:
    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _every(value: Json) -> Iterator[Json]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _filtered(path: JsonPath, equal: bool, wanted: Json) -> _Step:
    def step(value: Json) -> Iterator[Json]:
        for item in value if isinstance(value, list) else ():
            found = path.find(item)
            if found and (found[0] == wanted) is equal:
                yield item

    return step
