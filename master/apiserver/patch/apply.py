"""Server-side apply (KEP-555): merge what a manager wants, drop what it no longer wants.

Ownership is tracked among appliers: every `Apply` manager has its managedFields entry. Fields
set by PUT and the other patches have no owner and give way, as if applied by `force`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from kube.api.meta import StatusCause, StatusDetails
from kube.machinery.errors import BadRequest, Conflict
from master.apiserver.patch.fieldset import (
    NoFieldSet,
    Path,
    Tree,
    element_step,
    from_fields_v1,
    keys_of,
    paths_of,
    to_fields_v1,
)
from master.apiserver.patch.mergekeys import Shape
from master.apiserver.patch.strategic import identity

Json = Any
Map = dict[str, Any]
# Identity and bookkeeping, which appliers name but do not own.
_UNOWNED = {
    ("f:apiVersion",), ("f:kind",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace"),
    ("f:metadata", "f:resourceVersion"), ("f:metadata", "f:uid"),
    ("f:metadata", "f:creationTimestamp"),
}  # fmt: skip
_NO_MANAGER = (
    "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
)


async def apply_patch(
    current: Map, applied: Json, shape: Shape, manager: str, force: bool, now: str
) -> Map:
    """The merged object with updated managedFields; others are served between the steps.

    Raises BadRequest, Conflict.
    """
    if not isinstance(applied, dict):
        raise BadRequest("an apply patch must be an object")
    if not manager:
        raise BadRequest(_NO_MANAGER)
    metadata = applied.get("metadata", {})
    if not isinstance(metadata, dict):
        raise BadRequest("metadata must be an object")
    if metadata.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    wanted = {p: v for p, v in paths_of(applied, shape).items() if p not in _UNOWNED}
    await asyncio.sleep(0)
    entries: list[Map] = current.get("metadata", {}).get("managedFields", [])
    others = {
        entry.get("manager", ""): _fields_of(entry)
        for entry in entries
        if entry.get("operation") == "Apply" and entry.get("manager") != manager
    }
    await asyncio.sleep(0)
    clashes = _clashes(current, wanted, others, shape)
    if clashes and not force:
        raise _conflict(clashes)
    before = _owned_by(entries, manager)
    still_owned = set().union(*others.values()) if others else set()
    dropped = before - wanted.keys() - still_owned
    await asyncio.sleep(0)
    merged = _remove(_merge(current, applied, shape), dropped, shape)
    await asyncio.sleep(0)
    fields = to_fields_v1(set(wanted))
    await asyncio.sleep(0)
    return _with_entry(
        merged, entries, manager, fields, set(clashes), str(applied.get("apiVersion", "")), now
    )


def _owned_by(entries: list[Map], manager: str) -> set[Path]:
    for entry in entries:
        if entry.get("operation") == "Apply" and entry.get("manager") == manager:
            return _fields_of(entry)
    return set()


def _fields_of(entry: Map) -> set[Path]:
    """What an entry says; one that cannot be read owns nothing, rather than break every apply."""
    try:
        return from_fields_v1(entry.get("fieldsV1", {}))
    except NoFieldSet:
        return set()


def _clashes(
    current: Map, wanted: dict[Path, Json], others: dict[str, set[Path]], shape: Shape
) -> dict[Path, str]:
    """Fields that another applier owns with another value: path -> that manager."""
    have = paths_of(current, shape)
    return {
        path: manager
        for manager, owned in others.items()
        for path in owned & wanted.keys()
        if have.get(path) != wanted[path]
    }


def _conflict(clashes: dict[Path, str]) -> Conflict:
    causes = tuple(
        StatusCause(
            reason="FieldManagerConflict",
            message=f'conflict with "{manager}"',
            field=_dotted(path),
        )
        for path, manager in sorted(clashes.items())
    )
    count = len(causes)
    first = ", ".join(f"{cause.message}: {cause.field}" for cause in causes)
    return Conflict(
        f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {first}",
        StatusDetails(causes=causes),
    )


def _dotted(path: Path) -> str:
    return "".join(f".{step[2:]}" if step.startswith("f:") else f"[{step[2:]}]" for step in path)


def _merge(current: Json, applied: Json, shape: Shape) -> Json:
    if not isinstance(applied, dict) or not isinstance(current, dict):
        return applied
    merged = dict(current)
    for key, item in applied.items():
        merge_key = shape.merge_key(key)
        if isinstance(item, list) and merge_key is not None and isinstance(merged.get(key), list):
            merged[key] = _merge_list(merged[key], item, merge_key, shape.field(key))
        elif item is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), item, shape.field(key))
    return merged


def _merge_list(
    current: list[Json], applied: list[Json], merge_key: str, shape: Shape
) -> list[Json]:
    if merge_key and not all(isinstance(i, dict) and merge_key in i for i in applied):
        raise BadRequest(f'every element of the list must have the key "{merge_key}"')
    merged = list(current)
    places: dict[Hashable, int] = {}
    for at, old in enumerate(current):
        places.setdefault(_name_of(old, merge_key), at)
    for item in applied:
        name = _name_of(item, merge_key)
        if name not in places:
            places[name] = len(merged)
            merged.append(item)
        elif merge_key:
            merged[places[name]] = _merge(merged[places[name]], item, shape)
    return merged


def _name_of(item: Json, merge_key: str) -> Hashable:
    if merge_key == "" or not isinstance(item, dict):
        return identity(item)
    # Two ports of one number differ by protocol, TCP when it is left out.
    return identity(item.get(merge_key)), identity(item.get("protocol", "TCP"))


def _remove(value: Json, dropped: set[Path], shape: Shape) -> Json:
    """Without the fields at `dropped`; maps left empty by that go too."""
    return _without(value, to_fields_v1(dropped), shape) if dropped else value


def _without(value: Json, tree: Tree, shape: Shape) -> Json:
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for step, below in tree.items():
        name = step[2:]
        if not step.startswith("f:") or name not in result:
            continue
        merge_key = shape.merge_key(name)
        if not below:
            del result[name]
            continue
        if isinstance(result[name], list) and merge_key is not None:
            result[name] = _without_elements(result[name], below, merge_key, shape.field(name))
        else:
            result[name] = _without(result[name], below, shape.field(name))
        if result[name] in ({}, []):
            del result[name]
    return result


def _without_elements(items: list[Json], tree: Tree, merge_key: str, shape: Shape) -> list[Json]:
    """Elements whose own step is dropped go; of others only the fields that are."""
    by_name: dict[Hashable, Tree] = {}
    for step, below in tree.items():
        keys = keys_of(step)
        name = step if keys is None else _name_of(keys, merge_key)
        by_name[name] = by_name.get(name, {}) | below
    kept = []
    for item in items:
        name = _name_of(item, merge_key) if merge_key else element_step(item, merge_key)
        if name not in by_name:
            kept.append(item)
        elif (below := by_name[name]) and "." not in below:
            kept.append(_without(item, below, shape))
    return kept


def _with_entry(
    merged: Map,
    entries: list[Map],
    manager: str,
    fields: Tree,
    taken: set[Path],
    api_version: str,
    now: str,
) -> Map:
    """managedFields with this manager's new set; what it took by force the others lose."""
    kept = []
    for entry in entries:
        if entry.get("operation") == "Apply" and entry.get("manager") == manager:
            if entry.get("fieldsV1") == fields:
                now = entry.get("time", now)  # an apply that changes nothing writes nothing
            continue
        if taken:
            left = _fields_of(entry) - taken
            entry = {**entry, "fieldsV1": to_fields_v1(left)}
        kept.append(entry)
    mine = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    metadata = {**merged.get("metadata", {}), "managedFields": [*kept, mine]}
    return {**merged, "metadata": metadata}
