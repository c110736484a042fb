"""The four patch formats, over plain values."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api import apps, core, discovery, meta
from kube.api.core import Node, Pod
from kube.machinery.errors import BadRequest, Conflict, Invalid
from master.apiserver.patch.apply import apply_patch
from master.apiserver.patch.fieldset import from_fields_v1, paths_of, to_fields_v1
from master.apiserver.patch.jsonpatch import apply_json_patch
from master.apiserver.patch.mergekeys import MERGE_KEYS, Shape
from master.apiserver.patch.mergepatch import apply_merge_patch
from master.apiserver.patch.strategic import apply_strategic_patch

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [  # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_vectors(document: Any, patch: Any, result: Any) -> None:
    assert apply_merge_patch(document, patch) == result


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [  # RFC 6902, appendix A
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": 1}], {"foo": "bar", "baz": 1}),
        ({"a": ["x"]}, [{"op": "add", "path": "/a/0", "value": "y"}], {"a": ["y", "x"]}),
        ({"a": ["x"]}, [{"op": "add", "path": "/a/-", "value": "y"}], {"a": ["x", "y"]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2]}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1}),
        ({"a/b": 1, "~": 2}, [{"op": "test", "path": "/a~1b", "value": 1}], {"a/b": 1, "~": 2}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
    ],
)
async def test_json_patch_vectors(document: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy(document)
    assert await apply_json_patch(document, patch) == result
    assert document == before


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ({"op": "add"}, BadRequest),
        ([{"op": "add", "path": "/a"}], BadRequest),
        ([{"op": "frob", "path": "/a"}], BadRequest),
        ([{"op": "add", "path": "a", "value": 1}], BadRequest),
        ([{"op": "remove", "path": "/nope"}], Invalid),
        ([{"op": "remove", "path": "/list/7"}], Invalid),
        ([{"op": "test", "path": "/list", "value": []}], Invalid),
        ([{"op": "copy", "from": "/x", "path": "/y"}], Invalid),
    ],
)
async def test_json_patches_that_do_not_fit(patch: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await apply_json_patch({"list": [1]}, patch)


def containers(*items: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(items)}}


def test_strategic_merge_merges_lists_by_their_key() -> None:
    ports = [{"containerPort": 80, "protocol": "TCP"}]
    document = containers({"name": "a", "image": "1", "ports": ports}, {"name": "b"})
    patch = containers({"name": "a", "image": "2"}, {"name": "c"})
    merged = apply_strategic_patch(document, patch, Shape(Pod))
    assert merged == containers(
        {"name": "a", "image": "2", "ports": ports}, {"name": "b"}, {"name": "c"}
    )


def test_strategic_merge_directives() -> None:
    shape = Shape(Pod)
    document = containers({"name": "a"}, {"name": "b"})
    assert apply_strategic_patch(
        document, containers({"name": "a", "$patch": "delete"}), shape
    ) == containers({"name": "b"})
    assert apply_strategic_patch(
        document, containers({"$patch": "replace"}, {"name": "z"}), shape
    ) == containers({"name": "z"})
    ordered = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert apply_strategic_patch(document, ordered, shape) == containers(
        {"name": "b"}, {"name": "a"}
    )
    volumes = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    retained = {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}
    patch = {"spec": {"volumes": [retained]}}
    assert apply_strategic_patch(volumes, patch, shape) == {
        "spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}
    }
    held = {"metadata": {"finalizers": ["a", "b"]}}
    drop = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert apply_strategic_patch(held, drop, shape) == {"metadata": {"finalizers": ["b"]}}
    assert apply_strategic_patch(held, {"metadata": {"finalizers": ["c"]}}, shape) == {
        "metadata": {"finalizers": ["a", "b", "c"]}
    }


def test_strategic_merge_replaces_atomic_lists_and_merges_conditions() -> None:
    node = {
        "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Disk"}]},
    }
    patch = {
        "spec": {"taints": [{"key": "b", "effect": "NoExecute"}]},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    }
    merged = apply_strategic_patch(node, patch, Shape(Node))
    assert merged["spec"]["taints"] == [{"key": "b", "effect": "NoExecute"}]
    assert merged["status"]["conditions"] == [
        {"type": "Ready", "status": "Unknown"},
        {"type": "Disk"},
    ]


def test_strategic_merge_needs_the_merge_key() -> None:
    with pytest.raises(BadRequest, match="merge key: name"):
        apply_strategic_patch(containers({"name": "a"}), containers({"image": "x"}), Shape(Pod))


@given(PLAIN, PLAIN)
def test_without_types_a_strategic_patch_never_crashes(document: Any, patch: Any) -> None:
    if isinstance(document, dict) and isinstance(patch, dict):
        apply_strategic_patch(document, patch, Shape())


def test_every_merge_key_names_a_real_field() -> None:
    modules = (core, apps, discovery, meta)
    for (type_name, field), key in MERGE_KEYS.items():
        types = [getattr(m, type_name) for m in modules if hasattr(m, type_name)]
        assert types, type_name
        shape = Shape(types[0])
        assert shape.has(field), (type_name, field)
        assert not key or shape.field(field).has(key), (type_name, field, key)


# server-side apply


def apply(current: Any, applied: Any, manager: str, force: bool = False) -> Any:
    return asyncio.run(
        apply_patch(current, applied, Shape(Pod), manager, force, "2026-01-01T00:00:00Z")
    )


def test_apply_owns_removes_and_shares() -> None:
    first = apply({}, containers({"name": "a", "image": "1", "stdin": True}), "one")
    second = apply(first, {"metadata": {"labels": {"x": "y"}}}, "two")
    assert second["metadata"]["labels"] == {"x": "y"}
    third = apply(second, containers({"name": "a", "image": "1"}), "one")
    assert third["spec"]["containers"] == [{"name": "a", "image": "1"}]
    gone = apply(third, {}, "two")
    assert "labels" not in gone["metadata"]


def test_applying_the_same_again_changes_nothing() -> None:
    body = containers({"name": "a", "image": "1"})
    first = apply({}, body, "one")
    again = asyncio.run(apply_patch(first, body, Shape(Pod), "one", False, "2027-07-07T07:07:07Z"))
    assert again == first


def test_appliers_that_disagree_conflict_until_forced() -> None:
    first = apply({}, containers({"name": "a", "image": "1"}), "one")
    with pytest.raises(Conflict, match='conflict with "one"') as caught:
        apply(first, containers({"name": "a", "image": "2"}), "two")
    assert caught.value.details is not None
    assert caught.value.details.causes[0].field == '.spec.containers[{"name":"a"}].image'
    forced = apply(first, containers({"name": "a", "image": "2"}), "two", force=True)
    assert forced["spec"]["containers"][0]["image"] == "2"
    # What was taken by force is not the former owner's to remove.
    after = apply(forced, {}, "one")
    assert after["spec"]["containers"] == [{"name": "a", "image": "2"}]


def test_apply_refuses_what_it_must() -> None:
    with pytest.raises(BadRequest, match="fieldManager"):
        apply({}, {}, "")
    with pytest.raises(BadRequest, match="managedFields must be nil"):
        apply({}, {"metadata": {"managedFields": [{}]}}, "one")


@given(st.dictionaries(st.text(min_size=1, max_size=3), PLAIN, min_size=1))
def test_field_sets_survive_their_json_form(value: dict[str, Any]) -> None:
    paths = set(paths_of(value, Shape()))
    assert from_fields_v1(to_fields_v1(paths)) == paths
