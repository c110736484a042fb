"""Which fields a manager applied: sets of paths, and their `fieldsV1` form in managedFields.

structured-merge-diff's notation: `f:name` a field, `k:{"name":"x"}` a list element by its keys,
`v:"x"` an element of a set, `.` the container itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kube.machinery.errors import BadRequest
from kube.machinery.schema import OPEN, Schema
from master.apiserver.decoding.limits import MAX_DEPTH

# A path is a tuple of steps in the notation above; leaves only, and keyed list elements.
Path = tuple[str, ...]
Json = Any
Tree = dict[str, Any]


class NoFieldSet(ValueError):
    """The value is no `fieldsV1`."""


def element_step(item: Json, schema: Schema) -> str:
    """The step that names an element of a set or a keyed list."""
    if schema.list_type == "set":
        return "v:" + msgspec.json.encode(item).decode()
    return _key_step(item if isinstance(item, dict) else {}, schema)


def _key_step(item: dict[str, Json], schema: Schema) -> str:
    """Of all keys of the list, in order; a key that is left out has its default, or is left out."""
    fields = schema.elements.fields
    keys = {}
    for key in sorted(schema.keys):
        value = item.get(key)
        if value is None and key in fields:
            value = fields[key].default
        if value is not None:
            keys[key] = value
    return "k:" + msgspec.json.encode(keys).decode()


def is_merged(schema: Schema) -> bool:
    """Whether the elements of the list have owners of their own; else the list has one."""
    return schema.list_type in ("set", "map")


def _check_elements(items: list[Json], schema: Schema) -> None:
    if schema.list_type != "map":
        return
    for item in items:
        if not isinstance(item, dict) or not any(item.get(key) is not None for key in schema.keys):
            raise BadRequest(f'every element of the list must have the key "{schema.keys[0]}"')


def dotted(path: Path) -> str:
    """`.spec.containers[{"name":"a"}].image`, as upstream prints a path."""
    return "".join(f".{step[2:]}" if step.startswith("f:") else f"[{step[2:]}]" for step in path)


def paths_of(value: Json, schema: Schema, *, check: bool = False) -> dict[Path, Json]:
    """Every leaf of a configuration with its value; what is atomic is one leaf.

    With `check` raises BadRequest for elements of keyed lists that have no key, or the same.
    """
    found: dict[Path, Json] = {}
    _collect_paths(value, schema, (), found, check)
    return found


def _collect_paths(
    value: Json, schema: Schema, path: Path, found: dict[Path, Json], check: bool
) -> None:
    if isinstance(value, dict) and value and not schema.atomic:
        for key, item in value.items():
            _collect_paths(item, schema.field(key), (*path, f"f:{key}"), found, check)
    elif isinstance(value, list) and is_merged(schema):
        if check:
            _check_elements(value, schema)
        for element in value:
            step = (*path, element_step(element, schema))
            if check and step in found:
                raise BadRequest(f"{dotted(path)}: duplicate entries for key {step[-1][2:]}")
            found[step] = element if schema.list_type == "set" else None
            if schema.list_type == "map":
                _collect_paths(element, schema.elements, step, found, check)
    else:
        found[path] = value


def to_fields_v1(paths: set[Path]) -> Tree:
    tree: Tree = {}
    for path in paths:
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        # A keyed element owns itself beside its fields.
        if path and path[-1].startswith("k:"):
            node["."] = {}
    return _in_order(tree)


def _in_order(tree: Tree) -> Tree:
    return {step: _in_order(below) if below else below for step, below in sorted(tree.items())}


def from_fields_v1(tree: Json, schema: Schema = OPEN) -> set[Path]:
    """The paths of a `fieldsV1`, brought into this module's form. Raises NoFieldSet."""
    found: set[Path] = set()
    _collect_fields(tree, schema, (), found)
    return found


def _collect_fields(tree: Json, schema: Schema, path: Path, found: set[Path]) -> None:
    if not isinstance(tree, dict) or len(path) > MAX_DEPTH:
        raise NoFieldSet("a set of fields must be a map of maps")
    for step, below in tree.items():
        if step == "." and below == {}:
            found.add(path)
            continue
        _check_step(step)
        if step.startswith("f:"):
            inner = schema.field(step[2:])
        else:
            step, inner = _in_our_form(step, schema), schema.elements
        # Others, and older versions of this server, note parts of what is atomic.
        if below == {} or inner.atomic or (inner.kind == "list" and not is_merged(inner)):
            found.add((*path, step))
        else:
            _collect_fields(below, inner, (*path, step), found)


def _in_our_form(step: str, schema: Schema) -> str:
    """The same element, with all keys and in order."""
    keys = keys_of(step)
    return step if keys is None or schema.list_type != "map" else _key_step(keys, schema)


def check_fields_v1(tree: Json) -> None:
    """Raises NoFieldSet for what `from_fields_v1` cannot read; makes no paths."""
    level = [tree]
    for _ in range(MAX_DEPTH):
        below: list[Json] = []
        for node in level:
            if not isinstance(node, dict):
                raise NoFieldSet("a set of fields must be a map of maps")
            for step, child in node.items():
                if not step.startswith("f:") and (step != "." or child != {}):
                    _check_step(step)
                if child != {}:
                    below.append(child)
        if not below:
            return
        level = below
    raise NoFieldSet("a set of fields must be a map of maps")


def _check_step(step: str) -> None:
    prefix, _, rest = step.partition(":")
    if prefix == "f" or (prefix == "i" and rest.isascii() and rest.isdecimal()):
        return
    try:
        value = msgspec.json.decode(rest) if prefix in ("k", "v") else None
    except (msgspec.MsgspecError, RecursionError):
        value = None
    if prefix == "k" and not isinstance(value, dict):
        raise NoFieldSet(f'"{step[:100]}" names no element by its keys')
    if prefix not in ("k", "v") or (value is None and rest != "null"):
        raise NoFieldSet(f'"{step[:100]}" names no field')


def keys_of(step: str) -> dict[str, Json] | None:
    """The keys that a `k:` step names; None for any other step."""
    if not step.startswith("k:"):
        return None
    try:
        keys = msgspec.json.decode(step[2:])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return keys if isinstance(keys, dict) else None
