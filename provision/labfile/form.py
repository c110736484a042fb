"""From YAML to a document's type, or to an error that names the place and the fix.

Lab files and drills are read by the same rules: strict YAML, unknown fields refused, each mistake
with its path.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import yaml

from provision.errors import LabFileError

MAX_BYTES = 1 << 20
T = TypeVar("T")


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader that refuses a key given twice: the earlier value would be lost."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key "{key.value}" is given twice', key.start_mark
                )
            seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """A kind of document: its type, and the words for its mistakes."""

    kind: str  # as in `kind: Lab`
    type: type[T]
    noun: str  # "lab file"
    help: str  # where to look: docs/lab.schema.json
    in_words: Mapping[str, str] = field(default_factory=dict)  # of patterns

    def read(self, path: Path) -> str:
        """The text of a file, within bounds."""
        try:
            if path.stat().st_size > MAX_BYTES:
                raise LabFileError(
                    f'"{path}" is larger than 1 MiB', f"a {self.noun} is a page of YAML"
                )
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise LabFileError(
                f'no {self.noun} "{path}"', "see docs/cli.md for an example"
            ) from None
        except UnicodeDecodeError as error:
            raise LabFileError(f'"{path}" is not UTF-8 text: {error}') from None
        except OSError as error:
            raise LabFileError(f'cannot read "{path}": {error.strerror}') from None

    def decode(self, document: object, source: str) -> T:
        """`document` is parsed YAML; `source` is named in errors."""
        if not isinstance(document, dict):
            raise LabFileError(
                f"{source}: expected a mapping with apiVersion, kind and spec",
                f'start it with "apiVersion: muster/v1" and "kind: {self.kind}"',
            )
        try:
            return msgspec.convert(document, self.type)
        except msgspec.ValidationError as error:
            raise self._explained(str(error), document, source) from None

    def _explained(self, text: str, document: dict[Any, Any], source: str) -> LabFileError:
        """msgspec's sentence as `path: expected ...` with a hint."""
        problem, _, where = text.partition(" - at ")
        place = re.search(r"`\$\.?([^`]*)`", where)
        path = place[1] if place else ""
        if where.startswith("`key`"):
            return LabFileError(f"{source}: {path}: a key is no text", "quote the key")
        if unknown := re.search(r"unknown field `(.*)`", problem):
            name = unknown[1]
            known = self._fields_at(document, path)
            return LabFileError(
                f"{source}: {_dotted(path, name)}: unknown field", _did_you_mean(name, known)
            )
        if missing := re.search(r"missing required field `(.*)`", problem):
            name = missing[1]
            constant = {"apiVersion": "muster/v1", "kind": self.kind}.get(name, "...")
            return LabFileError(
                f"{source}: {_dotted(path, name)}: missing", f'add "{name}: {constant}"'
            )
        expected = self._expected(problem, _value_at(document, path))
        return LabFileError(f"{source}: {path}: {expected}", self._hint(document, path))

    def _expected(self, problem: str, value: object) -> str:
        for pattern, words in self.in_words.items():
            if repr(pattern) in problem or pattern in problem:
                return f"expected {words}, got {_shown(value)}"
        if problem.startswith(("Invalid enum value", "Invalid value")):
            return f"unknown value {_shown(value)}"
        expected = problem.replace("`", "").partition(", got ")[0]
        for ours, theirs in (("text", "str"), ("a mapping", "object"), ("a list", "array"),
                             ("a number", "float"), ("a whole number", "int")):  # fmt: skip
            expected = re.sub(rf"\b{theirs}\b", ours, expected)
        lowered = expected[:1].lower() + expected[1:].replace(" | ", " or ")
        return f"{lowered}, got {_shown(value)}"

    def _fields_at(self, document: object, path: str) -> list[str]:
        names: list[str] = []
        for kind in _type_at(self.type, document, path):
            if _is_struct(kind):
                if tag := kind.__struct_config__.tag_field:
                    names.append(tag)
                names += [f.encode_name for f in msgspec.structs.fields(kind)]
        return list(dict.fromkeys(names))

    def _hint(self, document: object, path: str) -> str:
        """The allowed values of an enumeration, when `path` names one."""
        values = [
            str(value)
            for kind in _type_at(self.type, document, path)
            if typing.get_origin(kind) is typing.Literal
            for value in kind.__args__
            if value != ""
        ]
        parent, _, name = path.rpartition(".")
        for kind in _types_of(self.type, document, parent):
            if _is_struct(kind) and kind.__struct_config__.tag_field == name:
                values.append(str(kind.__struct_config__.tag))
        return f"use {' or '.join(values)}" if values else f"see {self.help}"


def parse_yaml(text: str, source: str) -> object:
    """Strict YAML; an error names the line."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - derived from SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise LabFileError(
            f"{source}:{where}: {error.problem or error.context}",
            "the file is not valid YAML at that place",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise LabFileError(f"{source}: {first}", "the file is not valid YAML") from None


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _steps(path: str) -> list[str | int]:
    return [
        int(index) if index else name for name, index in re.findall(r"([A-Za-z]+)|\[(\d+)\]", path)
    ]


def _value_at(document: object, path: str) -> object:
    for step in _steps(path):
        try:
            document = document[step]  # type: ignore[index]  # TypeError where it cannot be
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _types_of(root: Any, document: object, path: str) -> list[Any]:
    """The types that may stand at `path`, unions taken apart, whatever the document says there."""
    found: list[Any] = [root]
    value = document
    for step in _steps(path):
        found = [t for kind in found if _fits(kind, value) for t in _inside(kind, step)]
        value = _value_at(value, f"[{step}]" if isinstance(step, int) else step)
    return found


def _type_at(root: Any, document: object, path: str) -> list[Any]:
    """The same, without those that the document's own tag at `path` rules out."""
    value = _value_at(document, path)
    return [kind for kind in _types_of(root, document, path) if _fits(kind, value)]


def _fits(kind: Any, value: object) -> bool:
    """Whether `value` may be of the struct `kind`, by the field that tells a union's apart."""
    if not _is_struct(kind) or not isinstance(value, dict):
        return True
    tag_field = kind.__struct_config__.tag_field
    return tag_field is None or value.get(tag_field) == kind.__struct_config__.tag


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _inside(kind: Any, step: str | int) -> list[Any]:
    if isinstance(step, int):
        return [
            a
            for t in _parts(kind)
            if typing.get_origin(t) in (list, tuple)
            for a in _parts(t.__args__[0])
        ]
    if not _is_struct(kind):
        return []
    hints = typing.get_type_hints(kind)
    for found in msgspec.structs.fields(kind):
        if found.encode_name == step:
            return _parts(hints[found.name])
    return []


def _parts(kind: Any) -> list[Any]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [part for arg in kind.__args__ for part in _parts(arg)]
    return [kind]


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    listed = f"known fields here: {', '.join(known)}" if known else "no fields are known here"
    return f'did you mean "{close[0]}"? {listed}' if close else listed
