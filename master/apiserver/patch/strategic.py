"""Strategic merge patch: merge patch that merges some lists element by element.

Follows the semantics of apimachinery's strategicpatch: `$patch: replace|delete|merge`,
`$deleteFromPrimitiveList/F`, `$setElementOrder/F`, `$retainKeys`.
"""

from __future__ import annotations

from typing import Any

from master.apiserver.patch.mergekeys import Shape
from muster.api.errors import BadRequest

Json = Any
Map = dict[str, Any]
PATCH, RETAIN = "$patch", "$retainKeys"
DELETE_PRIMITIVES, ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def apply_strategic_patch(document: Map, patch: Json, shape: Shape) -> Map:
    """The patched map; `document` is left alone. Raises BadRequest."""
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch must be a map")
    return _merge_map(document, patch, shape)


def _merge_map(document: Map, patch: Map, shape: Shape) -> Map:
    directive = patch.get(PATCH)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != PATCH}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise BadRequest(f"unknown patch type found: {directive}")
    merged = dict(document)
    if retained := patch.get(RETAIN):
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = _merge_map(
                below if isinstance(below, dict) else {}, value, shape.field(key)
            )
        elif isinstance(value, list):
            merged[key] = _merge_list(merged.get(key), value, shape, key)
        else:
            merged[key] = value
    _list_directives(merged, patch, shape)
    return merged


def _list_directives(merged: Map, patch: Map, shape: Shape) -> None:
    for key, value in patch.items():
        if key.startswith(DELETE_PRIMITIVES):
            name = key.removeprefix(DELETE_PRIMITIVES)
            merged[name] = [item for item in merged.get(name) or [] if item not in value]
        elif key.startswith(ORDER):
            name = key.removeprefix(ORDER)
            if isinstance(merged.get(name), list):
                merged[name] = _ordered(merged[name], value, shape.merge_key(name))


def _merge_list(current: Json, patch: list[Json], shape: Shape, name: str) -> list[Json]:
    merge_key = shape.merge_key(name)
    if any(isinstance(item, dict) and item.get(PATCH) == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and PATCH in item)]
    if merge_key is None or not isinstance(current, list):
        below = shape.field(name)
        return [
            _merge_map({}, item, below) if isinstance(item, dict) and below.type else item
            for item in patch
            if not (isinstance(item, dict) and item.get(PATCH) == "delete")
        ]
    if merge_key == "":
        return current + [item for item in patch if item not in current]
    return _merge_by_key(current, patch, merge_key, shape.field(name))


def _merge_by_key(current: list[Json], patch: list[Json], key: str, shape: Shape) -> list[Json]:
    merged = list(current)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise BadRequest(f"map: {item} does not contain declared merge key: {key}")
        at = _index_of(merged, key, item[key])
        if item.get(PATCH) == "delete":
            merged = [old for old in merged if not _has(old, key, item[key])]
        elif at is None:
            merged.append(_merge_map({}, item, shape))
        else:
            merged[at] = _merge_map(merged[at], item, shape)
    return merged


def _has(item: Json, key: str, value: Json) -> bool:
    return isinstance(item, dict) and item.get(key) == value


def _index_of(items: list[Json], key: str, value: Json) -> int | None:
    return next((i for i, item in enumerate(items) if _has(item, key, value)), None)


def _ordered(items: list[Json], order: list[Json], merge_key: str | None) -> list[Json]:
    """Items named in `order` come in that order; others keep their place relative to them."""

    def identity(item: Json) -> Json:
        return item.get(merge_key) if merge_key and isinstance(item, dict) else item

    ranks = [identity(item) for item in order]
    listed = sorted(
        (item for item in items if identity(item) in ranks), key=lambda i: ranks.index(identity(i))
    )
    others = [(index, item) for index, item in enumerate(items) if identity(item) not in ranks]
    for index, item in others:
        listed.insert(min(index, len(listed)), item)
    return listed
