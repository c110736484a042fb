"""The published example of each kind (`examples/kinds`), as it is or changed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kube.machinery.scheme import ApiObject, Resource
from master.apiserver.decoding.typed import to_typed
from master.apiserver.kinds.catalog import KINDS, AnyKind
from master.apiserver.patch.mergepatch import apply_merge_patch

Json = dict[str, Any]
_DIRECTORY = Path(__file__).resolve().parent.parent / "examples" / "kinds"
EXAMPLES: dict[tuple[str, str], Json] = {
    (example["apiVersion"], example["kind"]): example
    for path in sorted(_DIRECTORY.glob("*.yaml"))
    for example in yaml.safe_load_all(path.read_text())
}
META = {"uid": "1b2c", "creationTimestamp": "2026-01-02T03:04:05Z"}


def name_of(kind: AnyKind) -> str:
    """`batch.Job`: the kind with the first word of its group; of several versions, with that."""
    named = f"{kind.resource.group.partition('.')[0]}.{kind.resource.kind}".lstrip(".")
    return f"{named}.{kind.resource.version}" if kind.conversion else named


# Those that are stored, which judge for all versions.
BY_NAME = {name_of(kind): kind for kind in KINDS if not kind.conversion}


def example_of(resource: Resource) -> Json:
    return copy.deepcopy(EXAMPLES[resource.api_version, resource.kind])


def made(name: str, patch: Json | None = None) -> ApiObject:
    """What the server makes of a create of the example of a kind, changed by a merge patch."""
    kind = BY_NAME[name]
    wanted = apply_merge_patch(example_of(kind.resource), patch or {})
    if kind.resource.namespaced:
        wanted["metadata"].setdefault("namespace", "default")
    wanted["metadata"] |= META
    obj: ApiObject = to_typed(kind.resource.type, wanted, name)
    result: ApiObject = kind.on_create(kind.default(obj))
    return result


def updated(name: str, old: ApiObject, patch: Json) -> ApiObject:
    """What the server makes of an update by a merge patch of what it shows."""
    kind = BY_NAME[name]
    shown = msgspec.json.decode(msgspec.json.encode(old))
    wanted = apply_merge_patch(shown, patch)
    obj: ApiObject = to_typed(kind.resource.type, wanted, name)
    result: ApiObject = kind.on_update(kind.default(obj), old)
    return result
