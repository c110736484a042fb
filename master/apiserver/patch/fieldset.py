"""Which fields a manager applied: sets of paths, and their `fieldsV1` form in managedFields.

structured-merge-diff's notation: `f:name` a field, `k:{"name":"x"}` a list element by its keys,
`v:"x"` an element of a set, `.` the container itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kube.machinery.errors import BadRequest
from master.apiserver.decoding.limits import MAX_DEPTH
from master.apiserver.patch.mergekeys import Shape

# A path is a tuple of steps in the notation above; leaves only, and keyed list elements.
Path = tuple[str, ...]
Json = Any
Tree = dict[str, Any]


class NoFieldSet(ValueError):
    """The value is no `fieldsV1`."""


def element_step(item: Json, merge_key: str) -> str:
    if merge_key == "":
        return "v:" + msgspec.json.encode(item).decode()
    if not isinstance(item, dict):
        raise BadRequest(f'every element of the list must have the key "{merge_key}"')
    keys = {merge_key: item.get(merge_key)}
    if merge_key in ("containerPort", "port") and "protocol" in item:
        keys["protocol"] = item["protocol"]
    return "k:" + msgspec.json.encode(keys).decode()


def paths_of(value: Json, shape: Shape) -> dict[Path, Json]:
    """Every leaf of an applied configuration with its value."""
    found: dict[Path, Json] = {}
    _collect_paths(value, shape, (), found)
    return found


def _collect_paths(value: Json, shape: Shape, path: Path, found: dict[Path, Json]) -> None:
    if not isinstance(value, dict) or not value:
        found[path] = value
        return
    for key, item in value.items():
        here = (*path, f"f:{key}")
        merge_key = shape.merge_key(key)
        below = shape.field(key)
        if not isinstance(item, list) or merge_key is None:
            _collect_paths(item, below, here, found)
            continue
        for element in item:
            step = (*here, element_step(element, merge_key))
            found[step] = element if merge_key == "" else None
            if merge_key:
                _collect_paths(element, below, step, found)


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


def from_fields_v1(tree: Json) -> set[Path]:
    """The paths of a `fieldsV1`. Raises NoFieldSet."""
    found: set[Path] = set()
    _collect_fields(tree, (), found)
    return found


def _collect_fields(tree: Json, path: Path, found: set[Path]) -> None:
    if not isinstance(tree, dict) or len(path) > MAX_DEPTH:
        raise NoFieldSet("a set of fields must be a map of maps")
    for step, below in tree.items():
        if step == "." and below == {}:
            found.add(path)
            continue
        _check_step(step)
        if below == {}:
            found.add((*path, step))
        else:
            _collect_fields(below, (*path, step), found)


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
