"""From the text of a lab file to a `Lab`, or to an error that names the place and the fix."""

from __future__ import annotations

import difflib
import re
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import structs

from provision.errors import LabFileError
from provision.labfile import spec as specs
from provision.labfile.spec import Lab
from provision.labfile.validate import validate

MAX_BYTES = 1 << 20

# What a value must look like, in words instead of a regular expression.
_IN_WORDS = {
    specs.NAME_PATTERN: "a DNS label of at most 12 characters (a-z, 0-9, '-', first a letter)",
    specs.SIZE_PATTERN: "a size such as 512Mi, 2Gi or 1Ti",
    specs.DISK_PATTERN: "a size such as 512Mi or 20Gi, or none",
    specs.CIDR_PATTERN: "an IPv4 network such as 10.200.0.0/24",
    specs.PORT_RANGE_PATTERN: "a range of ports such as 30000-32767",
}


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


def load_lab(path: Path) -> Lab:
    """Read, parse and validate the lab file at `path`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabFileError(f'"{path}" is larger than 1 MiB', "a lab file is a page of YAML")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LabFileError(f'no lab file "{path}"', "see docs/cli.md for an example") from None
    except UnicodeDecodeError as error:
        raise LabFileError(f'"{path}" is not UTF-8 text: {error}') from None
    except OSError as error:
        raise LabFileError(f'cannot read "{path}": {error.strerror}') from None
    lab = parse_lab(text, str(path))
    # Archives are named relative to the file that names them.
    images = [str((path.parent / Path(x).expanduser()).resolve()) for x in lab.spec.images]
    return structs.replace(lab, spec=structs.replace(lab.spec, images=images))


def parse_lab(text: str, source: str = "lab file") -> Lab:
    """Parse and validate; `source` is named in errors."""
    return parse_document(_yaml(text, source), source)


def parse_document(document: object, source: str) -> Lab:
    """The same for a document that is already parsed YAML."""
    if not isinstance(document, dict):
        raise LabFileError(
            f"{source}: expected a mapping with apiVersion, kind and spec",
            'start it with "apiVersion: muster/v1" and "kind: Lab"',
        )
    try:
        lab = msgspec.convert(document, Lab)
    except msgspec.ValidationError as error:
        raise _explained(str(error), document, source) from None
    validate(lab, source)
    return lab


def _yaml(text: str, source: str) -> object:
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


def _explained(text: str, document: dict[Any, Any], source: str) -> LabFileError:
    """msgspec's sentence as `path: expected ...` with a hint."""
    problem, _, where = text.partition(" - at ")
    place = re.search(r"`\$\.?([^`]*)`", where)
    path = place[1] if place else ""
    if where.startswith("`key`"):
        return LabFileError(f"{source}: {path}: a key is no text", "quote the key")
    if unknown := re.search(r"unknown field `(.*)`", problem):
        field = unknown[1]
        known = _fields_at(path)
        dotted = f"{path}.{field}" if path else field
        return LabFileError(f"{source}: {dotted}: unknown field", _did_you_mean(field, known))
    if missing := re.search(r"missing required field `(.*)`", problem):
        field = missing[1]
        dotted = f"{path}.{field}" if path else field
        constant = {"apiVersion": "muster/v1", "kind": "Lab"}.get(field, "...")
        return LabFileError(f"{source}: {dotted}: missing", f'add "{field}: {constant}"')
    value = _value_at(document, path)
    expected = _lowered(problem, value)
    return LabFileError(f"{source}: {path}: {expected}", _hint(path))


def _lowered(problem: str, value: object) -> str:
    for pattern, words in _IN_WORDS.items():
        if repr(pattern) in problem or pattern in problem:
            return f"expected {words}, got {_shown(value)}"
    if problem.startswith("Invalid enum value"):
        return f"unknown value {_shown(value)}"
    expected = problem.replace("`", "").partition(", got ")[0]
    for ours, theirs in (("text", "str"), ("a mapping", "object"), ("a list", "array"),
                         ("a number", "float"), ("a whole number", "int")):  # fmt: skip
        expected = re.sub(rf"\b{theirs}\b", ours, expected)
    return f"{expected[:1].lower()}{expected[1:].replace(' | ', ' or ')}, got {_shown(value)}"


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


def _type_at(path: str) -> list[Any]:
    """The types that may stand at `path`, unions taken apart."""
    found: list[Any] = [Lab]
    for step in _steps(path):
        found = [t for kind in found for t in _inside(kind, step)]
    return found


def _inside(kind: Any, step: str | int) -> list[Any]:
    if isinstance(step, int):
        return [
            a for t in _parts(kind) if typing.get_origin(t) is list for a in _parts(t.__args__[0])
        ]
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return []
    hints = typing.get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        if field.encode_name == step:
            return _parts(hints[field.name])
    return []


def _parts(kind: Any) -> list[Any]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [part for arg in kind.__args__ for part in _parts(arg)]
    return [kind]


def _fields_at(path: str) -> list[str]:
    return [
        field.encode_name
        for kind in _type_at(path)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        for field in msgspec.structs.fields(kind)
    ]


def _did_you_mean(field: str, known: list[str]) -> str:
    close = difflib.get_close_matches(field, known, n=1)
    listed = f"known fields here: {', '.join(known)}" if known else "no fields are known here"
    return f'did you mean "{close[0]}"? {listed}' if close else listed


def _hint(path: str) -> str:
    """The allowed values of an enumeration, when `path` names one."""
    values = [
        str(value)
        for kind in _type_at(path)
        if typing.get_origin(kind) is typing.Literal
        for value in kind.__args__
    ]
    return f"use {' or '.join(values)}" if values else "see docs/lab.schema.json"
