"""Strategic merge patch: merge patch that merges some lists element by element.

Follows the semantics of apimachinery's strategicpatch: `$patch: replace|delete|merge`,
`$deleteFromPrimitiveList/F`, `$setElementOrder/F`, `$retainKeys`. Lists are looked up by key, so
the cost grows with the patch and the object, not with their product.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from kube.machinery.errors import BadRequest
from kube.machinery.schema import Schema

Json = Any
Map = dict[str, Any]
PATCH, RETAIN = "$patch", "$retainKeys"
DELETE_PRIMITIVES, ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def apply_strategic_patch(document: Map, patch: Json, schema: Schema) -> Map:
    """The patched map; `document` is left alone. Raises BadRequest."""
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch must be a map")
    return _merge_map(document, patch, schema)


def identity(value: Json) -> Hashable:
    """What two equal JSON values have in common; not equal for true and 1, as in Python."""
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, order="deterministic")
    return (type(value), value)


def _merge_key(schema: Schema, name: str) -> str | None:
    """The key of the list field `name`; "" merges primitives, None replaces the list."""
    known = schema.fields.get(name)
    return known.merge_key if known is not None and known.merges else None


def _is_replaced(schema: Schema, name: str) -> bool:
    known = schema.fields.get(name)
    return known is not None and "replace" in known.strategy


def _merge_map(document: Map, patch: Map, schema: Schema) -> Map:
    directive = patch.get(PATCH)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != PATCH}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise BadRequest(f"unknown patch type found: {str(directive)[:40]}")
    merged = dict(document)
    if RETAIN in patch:
        retained = set(_strings(patch[RETAIN], "invalid patch format of retainKeys"))
        merged = {key: value for key, value in merged.items() if key in retained}
    directives = False
    for key, value in patch.items():
        if key.startswith("$"):
            directives = True
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            if not isinstance(below, dict) or _is_replaced(schema, key):
                below = {}
            merged[key] = _merge_map(below, value, schema.field(key))
        elif isinstance(value, list):
            merged[key] = _merge_list(merged.get(key), value, schema, key)
        else:
            merged[key] = value
    if directives:
        _list_directives(merged, patch, schema)
    return merged


def _strings(value: Json, complaint: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRequest(complaint)
    return value


def _list_directives(merged: Map, patch: Map, schema: Schema) -> None:
    for key, value in patch.items():
        if key.startswith(DELETE_PRIMITIVES):
            name = key.removeprefix(DELETE_PRIMITIVES)
            if not isinstance(value, list) or any(isinstance(v, dict | list) for v in value):
                raise BadRequest("invalid patch format of primitive list")
            doomed = {identity(item) for item in value}
            if isinstance(merged.get(name), list):
                merged[name] = [item for item in merged[name] if identity(item) not in doomed]
        elif key.startswith(ORDER):
            name = key.removeprefix(ORDER)
            if not isinstance(value, list):
                raise BadRequest("invalid patch format of setElementOrder list")
            if isinstance(merged.get(name), list):
                merged[name] = _ordered(merged[name], value, _merge_key(schema, name))


def _merge_list(current: Json, patch: list[Json], schema: Schema, name: str) -> list[Json]:
    merge_key = _merge_key(schema, name)
    if any(isinstance(item, dict) and item.get(PATCH) == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and PATCH in item)]
    if merge_key is None or not isinstance(current, list):
        below = schema.field(name).elements
        return [
            _merge_map({}, item, below) if isinstance(item, dict) and below.type else item
            for item in patch
            if not (isinstance(item, dict) and item.get(PATCH) == "delete")
        ]
    if merge_key == "":
        present = {identity(item) for item in current}
        return current + [item for item in patch if identity(item) not in present]
    return _merge_by_key(current, patch, merge_key, schema.field(name).elements)


def _merge_by_key(current: list[Json], patch: list[Json], key: str, schema: Schema) -> list[Json]:
    merged: list[Json] = list(current)
    places: dict[Hashable, list[int]] = {}
    for at, old in enumerate(current):
        if isinstance(old, dict) and key in old:
            places.setdefault(identity(old[key]), []).append(at)
    gone: set[int] = set()
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise BadRequest(f"map: {str(item)[:200]} does not contain declared merge key: {key}")
        mine = places.setdefault(identity(item[key]), [])
        if item.get(PATCH) == "delete":
            gone.update(mine)
            mine.clear()
        elif mine:
            merged[mine[0]] = _merge_map(merged[mine[0]], item, schema)
        else:
            mine.append(len(merged))
            merged.append(_merge_map({}, item, schema))
    return [item for at, item in enumerate(merged) if at not in gone]


def _ordered(items: list[Json], order: list[Json], merge_key: str | None) -> list[Json]:
    """Items named in `order` come in that order; others keep their place relative to them."""

    def name(item: Json) -> Hashable:
        return identity(item.get(merge_key) if merge_key and isinstance(item, dict) else item)

    ranks: dict[Hashable, int] = {}
    for rank, item in enumerate(order):
        ranks.setdefault(name(item), rank)
    named = sorted((item for item in items if name(item) in ranks), key=lambda i: ranks[name(i)])
    others = {at: item for at, item in enumerate(items) if name(item) not in ranks}
    # Those that are not named go back to where they were, as far as there are items before.
    result: list[Json] = []
    queue = iter(named)
    for at in range(len(items)):
        result.append(others[at] if at in others else next(queue))
    return result
