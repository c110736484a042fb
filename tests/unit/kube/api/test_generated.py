"""The API types and facts that are made of the published schema."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from kube.api import facts
from kube.api.apps import Deployment
from kube.api.core import Pod
from kube.api.object import ApiObject
from kube.component.version import MAJOR, MINOR
from kube.machinery import scheme
from kube.machinery.schema import Schema, schema_of, time_plan
from master.apiserver.decoding.typed import to_typed, unknown_fields
from tools.published import SCALARS, definitions, directory, group_version_kind, kinds, place_of
from tools.render_facts import descriptions
from tools.render_types import ALSO, LEFT_OUT, closure, is_struct, json_type, properties_of

_SCALAR_EXAMPLES = {
    "quantity": "1500m",
    "intstr": "50%",
    "time": "2026-01-02T03:04:05Z",
    "microtime": "2026-01-02T03:04:05.000006Z",
}


def type_of(name: str) -> type[msgspec.Struct]:
    place = place_of(name)
    found: type[msgspec.Struct] = getattr(
        importlib.import_module(f"kube.api.{place.module}"), place.name
    )
    return found


def test_every_kind_has_a_name_in_the_scheme() -> None:
    rows = {scheme.resource_for_kind(*key) for key in scheme.published()}
    named = {row.type for row in rows if row}
    # Bodies of subresources, which have no collection of their own.
    bodies = {"Scale", "TokenRequest", "Eviction"}
    assert named == {type_of(name) for name in kinds() if place_of(name).name not in bodies}
    for row in rows:
        assert row and issubclass(row.type, ApiObject)
        assert (row.type().api_version, row.type().kind) == (row.api_version, row.kind)


def test_the_server_says_the_minor_of_its_schemas() -> None:
    assert directory().name.startswith(f"v{MAJOR}.{MINOR}.")


def example(value: Any, inside: tuple[str, ...] = ()) -> Any:
    """A value with every field that the schema has, read from the published JSON alone."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        if name in SCALARS:
            return _SCALAR_EXAMPLES[SCALARS[name]]
        return example_of(name, inside) if is_struct(name) else {"any": [1, "x"]}
    match json_type(value):
        case "string":
            return value.get("enum", ["text"])[0]
        case "integer":
            return 2**31 - 1 if value.get("format") == "int32" else 2**63 - 1
        case "number":
            return 1.5
        case "boolean":
            return True
        case "array":
            return [example(value["items"], inside)]
        case "object":
            return {"key": example(value["additionalProperties"], inside)}
    raise AssertionError(value)


def example_of(name: str, inside: tuple[str, ...] = ()) -> dict[str, Any]:
    """A type that holds itself is there twice, once with everything."""
    if name in inside:
        return {"description": "text"}
    return {field: example(value, (*inside, name)) for field, value in properties_of(name).items()}


@pytest.mark.parametrize("name", [*ALSO, *kinds()], ids=lambda name: str(place_of(name)))
def test_every_kind_takes_all_its_fields_and_gives_them_back(name: str) -> None:
    type_, value = type_of(name), example_of(name)
    assert unknown_fields(value, schema_of(type_)) == []
    made = to_typed(type_, value, "it")
    told = group_version_kind(name)
    if told:
        assert (value["apiVersion"], value["kind"]) == told or name in ALSO
        assert (type_().api_version, type_().kind) == told  # type: ignore[attr-defined]
    assert msgspec.json.decode(msgspec.json.encode(made)) == value
    time_plan(type_)


def test_there_are_as_many_kinds_as_are_generally_available() -> None:
    assert len(kinds()) >= 64
    assert {str(place_of(name)) for name in kinds()} > {
        "core.Pod", "batch.Job", "autoscaling.HorizontalPodAutoscaler",
        "autoscaling_v2.HorizontalPodAutoscaler", "apiextensions.CustomResourceDefinition",
        "events.Event", "rbac.Role", "apiregistration.APIService",
    }  # fmt: skip


def places() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for table in ("LISTS", "PATCHES", "DEFAULTS"):
        for place, fields in getattr(facts, table).items():
            yield table, place, fields
    for table in ("REQUIRED", "ATOMIC_FIELDS"):
        for place, fields in getattr(facts, table).items():
            yield table, place, dict.fromkeys(fields)


def schema_at(place: str) -> Schema:
    module, _, name = place.partition(".")
    return schema_of(getattr(importlib.import_module(f"kube.api.{module}"), name))


def test_every_fact_is_about_a_real_field() -> None:
    for table, place, fields in places():
        assert fields.keys() <= schema_at(place).fields.keys(), (table, place)
    for place, lists in facts.LISTS.items():
        for field, (kind, *keys) in lists.items():
            schema = schema_at(place).field(field)
            assert schema.kind == "list", (place, field)
            assert (kind == "map") == bool(keys)
            assert all(schema.elements.has(key) for key in keys), (place, field)


def test_what_is_left_out_is_published_otherwise() -> None:
    names = {str(place_of(name)): name for name in definitions() if name.startswith("io.k8s.api")}
    for place, fields in LEFT_OUT.items():
        name = names.get(place) or f"io.k8s.apimachinery.pkg.apis.meta.v1.{place[5:]}"
        assert set(fields) <= definitions()[name]["properties"].keys(), place


def test_the_schema_answers_what_is_published() -> None:
    spec = schema_of(Pod).field("spec")
    spread = spec.fields["topologySpreadConstraints"]
    assert spread.schema.keys == ("topologyKey", "whenUnsatisfiable")
    assert (spread.merges, spread.merge_key) == (True, "topologyKey")
    ports = spec.field("containers").elements.fields["ports"].schema
    assert (ports.list_type, ports.keys) == ("map", ("containerPort", "protocol"))
    assert ports.elements.fields["protocol"].default == "TCP"
    assert spec.fields["volumes"].strategy == {"merge", "retainKeys"}
    assert spec.fields["containers"].required and not spec.fields["volumes"].required
    assert (
        spec.field("nodeSelector").atomic
        and schema_of(Deployment).field("spec").field("selector").atomic
    )
    assert spec.field("tolerations").list_type == "atomic"
    assert schema_of(Pod).field("metadata").field("finalizers").list_type == "set"
    limits = spec.field("containers").elements.field("resources").field("limits")
    assert limits.field("cpu").format == "quantity"


def test_amounts_may_be_numbers_wherever_they_stand() -> None:
    field_ref = {"resource": "limits.cpu", "divisor": 1}
    value = {
        "spec": {
            "containers": [
                {"name": "a", "env": [{"name": "x", "valueFrom": {"resourceFieldRef": field_ref}}]}
            ],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": 1000000}}],
        }
    }
    pod = to_typed(Pod, value, "it")
    assert pod.spec.volumes[0].empty_dir is not None
    assert pod.spec.volumes[0].empty_dir.size_limit == "1000000"
    source = pod.spec.containers[0].env[0].value_from
    assert source is not None and source.resource_field_ref is not None
    assert source.resource_field_ref.divisor == "1"


def test_every_type_of_a_kind_is_described() -> None:
    found = descriptions(name for names in closure([*ALSO, *kinds()]).values() for name in names)
    assert all(texts.get("") for texts in found.values())
    assert "topologySpreadConstraints" in found["core.PodSpec"]
