"""The four patch formats, over plain values."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.apps import Deployment
from kube.api.core import Node, Pod, Service
from kube.machinery.errors import BadRequest, Conflict, Invalid
from kube.machinery.schema import OPEN, schema_of
from master.apiserver.patch.apply import apply_patch
from master.apiserver.patch.fieldset import from_fields_v1, paths_of, to_fields_v1
from master.apiserver.patch.jsonpatch import apply_json_patch
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
    merged = apply_strategic_patch(document, patch, schema_of(Pod))
    assert merged == containers(
        {"name": "a", "image": "2", "ports": ports}, {"name": "b"}, {"name": "c"}
    )


def test_strategic_merge_directives() -> None:
    schema = schema_of(Pod)
    document = containers({"name": "a"}, {"name": "b"})
    assert apply_strategic_patch(
        document, containers({"name": "a", "$patch": "delete"}), schema
    ) == containers({"name": "b"})
    assert apply_strategic_patch(
        document, containers({"$patch": "replace"}, {"name": "z"}), schema
    ) == containers({"name": "z"})
    ordered = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert apply_strategic_patch(document, ordered, schema) == containers(
        {"name": "b"}, {"name": "a"}
    )
    volumes = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    retained = {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}
    patch = {"spec": {"volumes": [retained]}}
    assert apply_strategic_patch(volumes, patch, schema) == {
        "spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}
    }
    held = {"metadata": {"finalizers": ["a", "b"]}}
    drop = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert apply_strategic_patch(held, drop, schema) == {"metadata": {"finalizers": ["b"]}}
    assert apply_strategic_patch(held, {"metadata": {"finalizers": ["c"]}}, schema) == {
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
    merged = apply_strategic_patch(node, patch, schema_of(Node))
    assert merged["spec"]["taints"] == [{"key": "b", "effect": "NoExecute"}]
    assert merged["status"]["conditions"] == [
        {"type": "Ready", "status": "Unknown"},
        {"type": "Disk"},
    ]


def test_strategic_merge_needs_the_merge_key() -> None:
    with pytest.raises(BadRequest, match="merge key: name"):
        apply_strategic_patch(containers({"name": "a"}), containers({"image": "x"}), schema_of(Pod))


@given(PLAIN, PLAIN)
def test_without_types_a_strategic_patch_never_crashes(document: Any, patch: Any) -> None:
    if isinstance(document, dict) and isinstance(patch, dict):
        apply_strategic_patch(document, patch, OPEN)


# server-side apply


def apply(
    current: Any, applied: Any, manager: str, force: bool = False, type_: type[Any] = Pod
) -> Any:
    return asyncio.run(
        apply_patch(current, applied, schema_of(type_), manager, force, "2026-01-01T00:00:00Z")
    )


def test_apply_owns_removes_and_shares() -> None:
    first = apply({}, containers({"name": "a", "image": "1", "stdin": True}), "one")
    second = apply(first, {"metadata": {"labels": {"x": "y"}}}, "two")
    assert second["metadata"]["labels"] == {"x": "y"}
    third = apply(second, containers({"name": "a", "image": "1"}), "one")
    assert third["spec"]["containers"] == [{"name": "a", "image": "1"}]
    gone = apply(third, {}, "two")
    assert "labels" not in gone["metadata"]


def constraint(skew: int, when: str) -> dict[str, Any]:
    return {"topologyKey": "zone", "maxSkew": skew, "whenUnsatisfiable": when}


def test_apply_knows_elements_by_all_their_keys() -> None:
    body = {
        "spec": {
            "topologySpreadConstraints": [
                constraint(1, "DoNotSchedule"),
                constraint(2, "ScheduleAnyway"),
            ],
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
            "containers": [
                {
                    "name": "dns",
                    "ports": [
                        {"containerPort": 53, "protocol": "UDP"},
                        {"containerPort": 53, "name": "tcp"},
                    ],
                }
            ],
        }
    }
    first = apply({}, body, "one")
    again = copy.deepcopy(body)
    again["spec"]["topologySpreadConstraints"][1]["maxSkew"] = 5
    again["spec"]["hostAliases"][0]["hostnames"] = ["b"]
    again["spec"]["containers"][0]["ports"][1]["hostPort"] = 5353
    assert apply(first, again, "one")["spec"] == again["spec"]
    # A protocol that is left out is TCP, whoever writes it down.
    ports = [{"containerPort": 53, "protocol": "TCP", "hostPort": 9}]
    spelled = apply(first, containers({"name": "dns", "ports": ports}), "two")
    assert spelled["spec"]["containers"][0]["ports"] == [
        {"containerPort": 53, "protocol": "UDP"},
        {"containerPort": 53, "name": "tcp", "protocol": "TCP", "hostPort": 9},
    ]


def test_two_elements_of_the_same_keys_are_refused() -> None:
    twice = containers({"name": "a", "env": [{"name": "x", "value": v} for v in "12"]})
    with pytest.raises(BadRequest) as caught:
        apply({}, twice, "one")
    assert str(caught.value) == (
        '.spec.containers[{"name":"a"}].env: duplicate entries for key {"name":"x"}'
    )


def test_an_element_that_is_no_longer_applied_goes_alone() -> None:
    def body(*constraints: dict[str, Any]) -> dict[str, Any]:
        return {"spec": {"topologySpreadConstraints": list(constraints)}}

    kept, gone = constraint(1, "DoNotSchedule"), constraint(2, "ScheduleAnyway")
    first = apply({}, body(kept, gone), "one")
    assert apply(first, body(kept), "one")["spec"] == body(kept)["spec"]
    ports = containers({"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81}]})
    renumbered = containers({"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 82}]})
    assert apply(apply({}, ports, "one"), renumbered, "one")["spec"] == renumbered["spec"]


def test_service_ports_are_known_by_number_and_protocol() -> None:
    def service(*ports: dict[str, Any]) -> dict[str, Any]:
        return {"spec": {"ports": list(ports), "selector": {"app": "a"}}}

    udp, tcp = {"port": 53, "protocol": "UDP", "name": "u"}, {"port": 53, "name": "t"}
    first = apply({}, service(udp, tcp), "one", type_=Service)
    changed = service(udp, {**tcp, "name": "other"})
    assert apply(first, changed, "one", type_=Service)["spec"] == changed["spec"]


def test_what_is_atomic_is_replaced_and_owned_as_a_whole() -> None:
    def deployment(labels: dict[str, str], terms: list[Any]) -> dict[str, Any]:
        required = {"nodeSelectorTerms": terms}
        affinity = {"requiredDuringSchedulingIgnoredDuringExecution": required}
        spec = {"affinity": {"nodeAffinity": affinity}, "nodeSelector": labels}
        return {"spec": {"selector": {"matchLabels": labels}, "template": {"spec": spec}}}

    one, other = [{"matchFields": []}], [{"matchExpressions": []}]
    first = apply({}, deployment({"a": "1"}, one), "one", type_=Deployment)
    with pytest.raises(Conflict) as caught:
        apply(first, {"spec": {"selector": {"matchLabels": {"b": "2"}}}}, "two", type_=Deployment)
    assert caught.value.details is not None
    assert [cause.field for cause in caught.value.details.causes] == [".spec.selector"]
    forced = apply(first, deployment({"b": "2"}, other), "two", force=True, type_=Deployment)
    assert forced["spec"] == deployment({"b": "2"}, other)["spec"]


def test_owners_that_others_noted_in_parts_are_understood() -> None:
    noted = {
        "f:spec": {
            "f:selector": {"f:app": {}},
            "f:ports": {'k:{"port":53}': {".": {}, "f:port": {}}},
        }
    }
    assert from_fields_v1(noted, schema_of(Service)) == {
        ("f:spec", "f:selector"),
        ("f:spec", "f:ports", 'k:{"port":53,"protocol":"TCP"}'),
        ("f:spec", "f:ports", 'k:{"port":53,"protocol":"TCP"}', "f:port"),
    }


def test_applying_the_same_again_changes_nothing() -> None:
    body = containers({"name": "a", "image": "1"})
    first = apply({}, body, "one")
    again = asyncio.run(
        apply_patch(first, body, schema_of(Pod), "one", False, "2027-07-07T07:07:07Z")
    )
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
    paths = set(paths_of(value, OPEN))
    assert from_fields_v1(to_fields_v1(paths)) == paths
