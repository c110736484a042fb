"""Server-side apply (KEP-555): merge what a manager wants, drop what it no longer wants.

Ownership is tracked among appliers: every `Apply` manager has its managedFields entry. Fields
set by PUT and the other patches have no owner and give way, as if applied by `force`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kube.api.meta import StatusCause, StatusDetails
from kube.machinery.errors import BadRequest, Conflict
from kube.machinery.schema import Schema
from master.apiserver.patch.fieldset import (
    NoFieldSet,
    Path,
    Tree,
    dotted,
    element_step,
    from_fields_v1,
    is_merged,
    paths_of,
    to_fields_v1,
)

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
    current: Map, applied: Json, schema: Schema, manager: str, force: bool, now: str
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
    wanted = {p: v for p, v in paths_of(applied, schema, check=True).items() if p not in _UNOWNED}
    await asyncio.sleep(0)
    entries: list[Map] = current.get("metadata", {}).get("managedFields", [])
    others = {
        entry.get("manager", ""): _fields_of(entry, schema)
        for entry in entries
        if entry.get("operation") == "Apply" and entry.get("manager") != manager
    }
    await asyncio.sleep(0)
    clashes = _clashes(current, wanted, others, schema)
    if clashes and not force:
        raise _conflict(clashes)
    before = _owned_by(entries, manager, schema)
    still_owned = set().union(*others.values()) if others else set()
    dropped = before - wanted.keys() - still_owned
    await asyncio.sleep(0)
    merged = _remove(_merge(current, applied, schema), dropped, schema)
    await asyncio.sleep(0)
    fields = to_fields_v1(set(wanted))
    await asyncio.sleep(0)
    if clashes:  # what was taken by force the others lose
        entries = [_without_fields(entry, set(clashes), schema) for entry in entries]
    return _with_entry(merged, entries, manager, fields, str(applied.get("apiVersion", "")), now)


def _owned_by(entries: list[Map], manager: str, schema: Schema) -> set[Path]:
    for entry in entries:
        if entry.get("operation") == "Apply" and entry.get("manager") == manager:
            return _fields_of(entry, schema)
    return set()


def _fields_of(entry: Map, schema: Schema) -> set[Path]:
    """What an entry says; one that cannot be read owns nothing, rather than break every apply."""
    try:
        return from_fields_v1(entry.get("fieldsV1", {}), schema)
    except NoFieldSet:
        return set()


def _clashes(
    current: Map, wanted: dict[Path, Json], others: dict[str, set[Path]], schema: Schema
) -> dict[Path, str]:
    """Fields that another applier owns with another value: path -> that manager."""
    have = paths_of(current, schema)
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
            field=dotted(path),
        )
        for path, manager in sorted(clashes.items())
    )
    count = len(causes)
    first = ", ".join(f"{cause.message}: {cause.field}" for cause in causes)
    return Conflict(
        f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {first}",
        StatusDetails(causes=causes),
    )


def _merge(current: Json, applied: Json, schema: Schema) -> Json:
    if isinstance(applied, list) and isinstance(current, list) and is_merged(schema):
        return _merge_list(current, applied, schema)
    if schema.atomic or not isinstance(applied, dict) or not isinstance(current, dict):
        return applied
    merged = dict(current)
    for key, item in applied.items():
        if item is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), item, schema.field(key))
    return merged


def _merge_list(current: list[Json], applied: list[Json], schema: Schema) -> list[Json]:
    merged = list(current)
    places: dict[str, int] = {}
    for at, old in enumerate(current):
        places.setdefault(element_step(old, schema), at)
    for item in applied:
        step = element_step(item, schema)
        if step not in places:
            places[step] = len(merged)
            merged.append(item)
        elif schema.list_type == "map":
            merged[places[step]] = _merge(merged[places[step]], item, schema.elements)
    return merged


def _remove(value: Json, dropped: set[Path], schema: Schema) -> Json:
    """Without the fields at `dropped`; maps left empty by that go too."""
    return _without(value, to_fields_v1(dropped), schema) if dropped else value


def _without(value: Json, tree: Tree, schema: Schema) -> Json:
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for step, below in tree.items():
        name = step[2:]
        if not step.startswith("f:") or name not in result:
            continue
        inner = schema.field(name)
        if not below:
            del result[name]
            continue
        if isinstance(result[name], list) and is_merged(inner):
            result[name] = _without_elements(result[name], below, inner)
        else:
            result[name] = _without(result[name], below, inner)
        if result[name] in ({}, []):
            del result[name]
    return result


def _without_elements(items: list[Json], tree: Tree, schema: Schema) -> list[Json]:
    """Elements whose own step is dropped go; of others only the fields that are, never a key."""
    kept = []
    for item in items:
        step = element_step(item, schema)
        below = tree.get(step)
        if below is None:
            kept.append(item)
        elif below and "." not in below:
            fields = {s: b for s, b in below.items() if s[2:] not in schema.keys}
            kept.append(_without(item, fields, schema.elements))
    return kept


def _without_fields(entry: Map, taken: set[Path], schema: Schema) -> Map:
    return {**entry, "fieldsV1": to_fields_v1(_fields_of(entry, schema) - taken)}


def _with_entry(
    merged: Map, entries: list[Map], manager: str, fields: Tree, api_version: str, now: str
) -> Map:
    """managedFields with this manager's new set."""
    kept = []
    for entry in entries:
        if entry.get("operation") == "Apply" and entry.get("manager") == manager:
            if entry.get("fieldsV1") == fields:
                now = entry.get("time", now)  # an apply that changes nothing writes nothing
            continue
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
