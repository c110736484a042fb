"""What a CustomResourceDefinition's schema says of a value: structure, defaults, problems."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api.apiextensions import CustomResourceDefinition
from kube.api.object import OpenObject
from master.apiserver.decoding.typed import cleaned_value, to_typed, unknown_fields
from master.apiserver.extensions.defaulting import filler_of
from master.apiserver.extensions.definition import kinds_of
from master.apiserver.extensions.patterns import matches, problem_of
from master.apiserver.extensions.structure import structure_of
from master.apiserver.extensions.values import problems
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.registry.validation.definitions import validate_definition
from master.apiserver.storage.codec import shown, to_stored, with_revision

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def told(value: Any, props: dict[str, Any]) -> list[tuple[str, str]]:
    return [(cause.field, cause.message) for cause in problems(value, props, "spec")]


@pytest.mark.parametrize(
    ("props", "value", "message"),
    [
        (TEXT, 1, 'Invalid value: "integer": spec in body must be of type string: "integer"'),
        (NUMBER, 1.5, 'Invalid value: "number": spec in body must be of type integer: "number"'),
        (NUMBER, True, 'Invalid value: "boolean": spec in body must be of type integer: "boolean"'),
        (NUMBER, None, 'Invalid value: "null": spec in body must be of type integer: "null"'),
        ({**NUMBER, "maximum": 10.0}, 11,
         "Invalid value: 11: spec in body should be less than or equal to 10"),
        ({**NUMBER, "minimum": 1.0, "exclusiveMinimum": True}, 1,
         "Invalid value: 1: spec in body should be greater than 1"),
        ({**NUMBER, "multipleOf": 5.0}, 7,
         "Invalid value: 7: spec in body should be a multiple of 5"),
        ({**NUMBER, "format": "int32"}, 2**31,
         'Invalid value: 2147483648: spec in body must be of type int32: 2147483648'),
        ({**TEXT, "minLength": 2}, "a",
         'Invalid value: "a": spec in body should be at least 2 chars long'),
        ({**TEXT, "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
        ({**TEXT, "pattern": "^a+$"}, "b",
         "Invalid value: \"b\": spec in body should match '^a+$'"),
        ({**TEXT, "format": "ipv4"}, "x",
         'Invalid value: "x": spec in body must be of type ipv4: "x"'),
        ({**TEXT, "format": "date-time"}, "today",
         'Invalid value: "today": spec in body must be of type date-time: "today"'),
        ({**TEXT, "enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "array", "items": TEXT, "maxItems": 1}, ["a", "b"],
         "Too many: 2: must have at most 1 items"),
        ({"type": "array", "items": TEXT, "minItems": 1}, [],
         "Invalid value: []: spec in body should have at least 1 items"),
        ({"x-kubernetes-int-or-string": True}, 1.5,
         'Invalid value: "number": spec in body must be of type integer,string: "number"'),
        ({"anyOf": [TEXT, NUMBER]}, [],
         'Invalid value: []: "spec" must validate at least one schema (anyOf)'),
        ({"oneOf": [TEXT, {"enum": ["a"]}]}, "a",
         'Invalid value: "a": "spec" must validate one and only one schema (oneOf). '
         "Found 2 valid alternatives"),
        ({"not": TEXT}, "a", 'Invalid value: "a": "spec" must not validate the schema (not)'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_upstreams_words(
    props: dict[str, Any], value: Any, message: str
) -> None:
    assert told(value, props) == [("spec", message)]


@pytest.mark.parametrize(
    ("props", "value"),
    [
        ({**NUMBER, "nullable": True}, None),
        ({"type": "number"}, 3),
        (NUMBER, 3.0),
        ({**TEXT, "format": "unheard-of"}, "x"),
        ({**TEXT, "format": "date"}, "2026-01-02"),
        ({**TEXT, "format": "cidr"}, "10.0.0.1/8"),
        ({"x-kubernetes-int-or-string": True}, "80"),
        ({}, {"any": "thing"}),
    ],
)
def test_what_is_right_is_let_pass(props: dict[str, Any], value: Any) -> None:
    assert told(value, props) == []


def test_places_are_named_by_their_paths() -> None:
    item = {**object_of(name=TEXT, n=NUMBER), "required": ["name"]}
    numbers = {"type": "object", "additionalProperties": NUMBER}
    props = object_of(list={"type": "array", "items": item}, map=numbers)
    value = {"list": [{"name": "a", "n": 1}, {"n": "x"}], "map": {"k": "v"}}
    assert [path for path, _ in told(value, props)] == [
        "spec.list[1].name", "spec.list[1].n", "spec.map.k",
    ]  # fmt: skip


def test_keys_of_lists_stand_once() -> None:
    items = {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}
    assert told(["a", "b", "a"], items) == [("spec[2]", 'Duplicate value: "a"')]


def test_defaults_are_filled_in_at_every_depth_and_only_there() -> None:
    inner = object_of(a={**TEXT, "default": "x"}, b=TEXT)
    props = object_of(
        n={**NUMBER, "default": 1},
        whole={**inner, "default": {}},
        list={"type": "array", "items": inner},
        map={"type": "object", "additionalProperties": inner},
    )
    fill = filler_of(props)
    assert fill is not None
    made = fill({"list": [{}, {"a": "y"}], "map": {"k": {"b": "z"}}})
    assert made == {
        "n": 1, "whole": {"a": "x"}, "list": [{"a": "x"}, {"a": "y"}],
        "map": {"k": {"a": "x", "b": "z"}},
    }  # fmt: skip
    assert fill(made) is made
    assert fill({"n": None})["n"] == 1
    assert filler_of(object_of(a=TEXT)) is None
    # A default that was given is nobody else's.
    fill({})["whole"]["a"] = "changed"
    assert fill({})["whole"] == {"a": "x"}


def test_unknown_fields_are_told_and_pruned_unless_the_schema_keeps_them() -> None:
    keep = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = structure_of(
        object_of(a=object_of(b=TEXT), open={**keep, **object_of(c=object_of(d=TEXT))}, free={})
        | {"x-kubernetes-preserve-unknown-fields": False}
    )
    value = {
        "a": {"b": "1", "x": 2}, "y": 3, "free": {"any": 1},
        "open": {"c": {"d": "1", "z": 1}, "other": [1]},
    }  # fmt: skip
    # What is kept is what no field is said of: below those that are, the rest is pruned again.
    assert unknown_fields(value, schema) == [
        'unknown field "a.x"', 'unknown field "y"', 'unknown field "open.c.z"',
    ]  # fmt: skip
    assert cleaned_value(value, schema)["open"] == {"c": {"d": "1"}, "other": [1]}
    assert cleaned_value(value, schema)["a"] == {"b": "1"}
    assert cleaned_value(value, schema)["free"] == {"any": 1}


def test_null_stays_where_it_is_a_value() -> None:
    schema = structure_of(object_of(a={**TEXT, "nullable": True}, b=TEXT))
    assert cleaned_value({"a": None, "b": None}, schema) == {"a": None}


def test_patterns_are_gos_and_cannot_run_for_ever() -> None:
    assert matches(r"^(a+)+$", "a" * 5000 + "b") is False
    assert matches(r"^\pN+$", "123") is True
    assert problem_of(r"(?=a)") is not None
    assert problem_of("[") is not None


def definition(**version: Any) -> CustomResourceDefinition:
    schema = {"openAPIV3Schema": object_of(spec=object_of(n={**NUMBER, "default": 3}))}
    versions = [
        {"name": "v1", "served": True, "storage": True, "schema": schema, **version},
        {"name": "v2", "served": True, "storage": False, "schema": schema},
        {"name": "v3", "served": False, "storage": False, "schema": schema},
    ]
    value = {
        "metadata": {"name": "bells.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "versions": versions,
            "names": {"plural": "bells", "kind": "Bell", "singular": "bell"},
            "conversion": {"strategy": "None"},
        },
    }  # fmt: skip
    return to_typed(CustomResourceDefinition, value, "x")


def kinds(**version: Any) -> list[AnyKind]:
    return list(kinds_of(definition(**version)))


def test_a_definition_is_a_kind_for_each_version_that_is_served() -> None:
    first, second = kinds()
    assert [first.resource.version, second.resource.version] == ["v1", "v2"]
    assert second.stored is first and first.prefix == "/registry/example.com/bells/"
    obj = second.codec.typed({"metadata": {"name": "b"}, "spec": {"n": 1}}, "Bell")
    assert second.conversion is not None
    stored = with_revision(first, to_stored(first, second.conversion.to_stored(obj)), 7)
    assert stored.startswith(b'{"apiVersion":"example.com/v1","kind":"Bell","metadata":{')
    assert shown(second, stored).startswith(b'{"apiVersion":"example.com/v2","kind":"Bell"')


def test_a_status_is_its_own_only_where_it_is_a_subresource() -> None:
    obj = OpenObject(content={"spec": {}, "status": {"a": 1}})
    (plain, _), (parted, _) = kinds(), kinds(subresources={"status": {}})
    assert plain.on_create(obj).content["status"] == {"a": 1}
    assert "status" not in parted.on_create(obj).content
    assert parted.subresource("status") and not plain.subresource("status")
    changed = OpenObject(content={"spec": {"n": 1}, "status": {"a": 2}})
    assert parted.on_update(changed, obj).content == {"spec": {"n": 1}, "status": {"a": 1}}
    assert parted.on_status(changed, obj).content == {"spec": {}, "status": {"a": 2}}


def test_an_example_definition_is_valid() -> None:
    assert validate_definition(definition()) == []
    broken = definition(schema={"openAPIV3Schema": {"type": "array", "items": TEXT}})
    (cause,) = validate_definition(broken)
    assert cause.field == "spec.versions[0].schema.openAPIV3Schema.type"
    assert cause.message == 'Invalid value: "array": must be object at the root'
