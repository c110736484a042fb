"""Which fields a manager applied: sets of paths, and their `fieldsV1` form in managedFields.

structured-merge-diff's notation: `f:name` a field, `k:{"name":"x"}` a list element by its keys,
`v:"x"` an element of a set, `.` the container itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from master.apiserver.patch.mergekeys import Shape

# A path is a tuple of steps in the notation above; leaves only, and keyed list elements.
Path = tuple[str, ...]
Json = Any


def element_step(item: Json, merge_key: str) -> str:
    if merge_key == "":
        return "v:" + msgspec.json.encode(item).decode()
    keys = {merge_key: item.get(merge_key)}
    if merge_key in ("containerPort", "port") and "protocol" in item:
        keys["protocol"] = item["protocol"]
    return "k:" + msgspec.json.encode(keys).decode()


def paths_of(value: Json, shape: Shape, path: Path = ()) -> dict[Path, Json]:
    """Every leaf of an applied configuration with its value."""
    if isinstance(value, dict) and value:
        found: dict[Path, Json] = {}
        for key, item in value.items():
            found |= _field_paths(item, shape, key, (*path, f"f:{key}"))
        return found
    return {path: value}


def _field_paths(item: Json, shape: Shape, key: str, path: Path) -> dict[Path, Json]:
    merge_key = shape.merge_key(key)
    below = shape.field(key)
    if not isinstance(item, list) or merge_key is None:
        return paths_of(item, below, path)
    found: dict[Path, Json] = {}
    for element in item:
        here = (*path, element_step(element, merge_key))
        found[here] = element if merge_key == "" else None
        if merge_key:
            found |= paths_of(element, below, here)
    return found


def to_fields_v1(paths: set[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        # A keyed element owns itself beside its fields.
        if path and path[-1].startswith("k:"):
            node["."] = {}
    return tree


def from_fields_v1(tree: dict[str, Any], path: Path = ()) -> set[Path]:
    found: set[Path] = set()
    for step, below in tree.items():
        if step == ".":
            found.add(path)
        elif below:
            found |= from_fields_v1(below, (*path, step))
        else:
            found.add((*path, step))
    return found
