"""Server-side apply (KEP-555): merge what a manager wants, drop what it no longer wants.

Ownership is tracked among appliers: every `Apply` manager has its managedFields entry. Fields
set by PUT and the other patches have no owner and give way, as if applied by `force`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from master.apiserver.patch.fieldset import (
    Path,
    element_step,
    from_fields_v1,
    paths_of,
    to_fields_v1,
)
from master.apiserver.patch.mergekeys import Shape
from muster.api.errors import BadRequest, Conflict
from muster.api.meta import StatusCause, StatusDetails

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


def apply_patch(
    current: Map, applied: Json, shape: Shape, manager: str, force: bool, now: str
) -> Map:
    """The merged object with updated managedFields. Raises BadRequest, Conflict."""
    if not isinstance(applied, dict):
        raise BadRequest("an apply patch must be an object")
    if not manager:
        raise BadRequest(_NO_MANAGER)
    if applied.get("metadata", {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    wanted = {p: v for p, v in paths_of(applied, shape).items() if p not in _UNOWNED}
    entries: list[Map] = current.get("metadata", {}).get("managedFields", [])
    others = {
        entry["manager"]: from_fields_v1(entry.get("fieldsV1", {}))
        for entry in entries
        if entry.get("operation") == "Apply" and entry.get("manager") != manager
    }
    clashes = _clashes(current, wanted, others, shape)
    if clashes and not force:
        raise _conflict(clashes)
    before = _owned_by(entries, manager)
    still_owned = set().union(*others.values()) if others else set()
    dropped = before - wanted.keys() - still_owned
    merged = _remove(_merge(current, applied, shape), dropped, shape)
    return _with_entry(
        merged, entries, manager, set(wanted), set(clashes), str(applied.get("apiVersion", "")), now
    )


def _owned_by(entries: list[Map], manager: str) -> set[Path]:
    for entry in entries:
        if entry.get("operation") == "Apply" and entry.get("manager") == manager:
            return from_fields_v1(entry.get("fieldsV1", {}))
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
    if merge_key == "":
        return current + [item for item in applied if item not in current]
    merged = list(current)
    for item in applied:
        at = next((i for i, old in enumerate(merged) if _same(old, item, merge_key)), None)
        if at is None:
            merged.append(item)
        else:
            merged[at] = _merge(merged[at], item, shape)
    return merged


def _same(old: Json, item: Json, merge_key: str) -> bool:
    if old.get(merge_key) != item[merge_key]:
        return False
    # Two ports of one number differ by protocol, TCP when it is left out.
    return bool(old.get("protocol", "TCP") == item.get("protocol", "TCP"))


def _remove(value: Json, dropped: set[Path], shape: Shape) -> Json:
    """Without the fields at `dropped`; maps left empty by that go too."""
    for path in sorted(dropped, key=len, reverse=True):
        value = _without(value, path, shape)
    return value


def _without(value: Json, path: Path, shape: Shape) -> Json:
    if not isinstance(value, dict) or not path[0].startswith("f:"):
        return value
    name, rest = path[0][2:], path[1:]
    if name not in value:
        return value
    result = dict(value)
    merge_key = shape.merge_key(name)
    if not rest:
        del result[name]
    elif isinstance(result[name], list) and merge_key is not None:
        result[name] = _without_element(result[name], rest, merge_key, shape.field(name))
    else:
        result[name] = _without(result[name], rest, shape.field(name))
    if result.get(name) in ({}, []):
        del result[name]
    return result


def _without_element(items: list[Json], path: Path, merge_key: str, shape: Shape) -> list[Json]:
    kept = []
    for item in items:
        if not _step_names(path[0], item, merge_key):
            kept.append(item)
        elif len(path) > 1:
            kept.append(_without(item, path[1:], shape))
    return kept


def _step_names(step: str, item: Json, merge_key: str) -> bool:
    if not step.startswith("k:"):
        return element_step(item, merge_key) == step
    keys: Map = msgspec.json.decode(step[2:])
    return all(item.get(key) == value for key, value in keys.items())


def _with_entry(
    merged: Map,
    entries: list[Map],
    manager: str,
    owned: set[Path],
    taken: set[Path],
    api_version: str,
    now: str,
) -> Map:
    """managedFields with this manager's new set; what it took by force the others lose."""
    fields = to_fields_v1(owned)
    kept = []
    for entry in entries:
        if entry.get("operation") == "Apply" and entry.get("manager") == manager:
            if entry.get("fieldsV1") == fields:
                now = entry.get("time", now)  # an apply that changes nothing writes nothing
            continue
        if taken:
            left = from_fields_v1(entry.get("fieldsV1", {})) - taken
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
