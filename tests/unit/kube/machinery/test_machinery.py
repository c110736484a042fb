"""Scheme, quantities, selectors and errors behave as apimachinery's do."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import models

from kube.api import core, discovery
from kube.api.core import Container, Pod, PodSpec
from kube.api.meta import LabelSelector, LabelSelectorRequirement, ObjectMeta, StatusCause
from kube.machinery import errors, quantity, scheme, selectors


def rows() -> list[scheme.Resource]:
    found = [scheme.resource_for_kind(*key) for key in scheme.published()]
    return [row for row in found if row]


def test_every_resource_has_its_own_path_and_kind() -> None:
    assert len({(r.group, r.version, r.plural) for r in rows()}) == len(rows())
    for row in rows():
        instance = row.type()
        assert (instance.api_version, instance.kind) == (row.api_version, row.kind)
        assert scheme.resource_for_kind(row.api_version, row.kind) is row


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.plural)
def test_an_encoded_object_says_what_it_is_and_decodes_to_itself(row: scheme.Resource) -> None:
    obj = row.type(metadata=ObjectMeta(name="x"))
    data = scheme.encode(obj)
    assert msgspec.json.decode(data)["kind"] == row.kind
    assert scheme.decode_any(data) == obj


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.plural)
def test_a_decoded_object_encodes_to_the_same_bytes(row: scheme.Resource) -> None:
    """Its apiVersion and kind must not stand there twice."""
    data = scheme.encode(row.type(metadata=ObjectMeta(name="x")))
    assert scheme.encode(scheme.decode_any(data)) == data


def test_an_open_object_keeps_what_it_does_not_know() -> None:
    value = {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {"cronSpec": "* * * * */5", "replicas": 0, "empty": [], "null": None},
        "status": {},
    }
    obj = scheme.decode(scheme.OpenObject, msgspec.json.encode(value))
    assert obj.metadata.labels == {"a": "b"}
    assert msgspec.json.decode(scheme.encode(obj)) == value
    with pytest.raises(msgspec.ValidationError):
        scheme.decode(scheme.OpenObject, b'{"metadata": {"name": 1}}')


def test_empty_fields_are_left_out_and_explicit_zeros_are_kept() -> None:
    pod = Pod(spec=PodSpec(containers=(Container(name="c"),), termination_grace_period_seconds=0))
    assert msgspec.json.decode(scheme.encode(pod))["spec"] == {
        "containers": [{"name": "c"}],
        "terminationGracePeriodSeconds": 0,
    }


def test_what_clients_insist_on_is_written_also_when_it_is_empty() -> None:
    """The published Python client refuses a pod that waits for its image, and an empty slice."""
    status = core.ContainerStatus(name="c", ready=False, restart_count=0)
    models.V1ContainerStatus(**_read(status, models.V1ContainerStatus))
    slice_ = discovery.EndpointSlice(address_type="IPv4")
    models.V1EndpointSlice(**_read(slice_, models.V1EndpointSlice))


def _read(obj: msgspec.Struct, model: Any) -> dict[str, Any]:
    fields = json.loads(msgspec.json.encode(obj))
    return {name: fields.get(key) for name, key in model.attribute_map.items()}


def test_a_wrong_type_is_refused_with_the_path_of_the_field() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.spec\.containers\[0\]\.name"):
        scheme.decode(Pod, b'{"spec":{"containers":[{"name":3}]}}')


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r'no kind "Nope" is registered for version "v1"'):
        scheme.decode_any(b'{"apiVersion":"v1","kind":"Nope"}')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", "0.1"), ("1", "1"), ("1.5", "1.5"), ("64Mi", "67108864"), ("1k", "1000"),
        ("1e3", "1000"), ("2Gi", "2147483648"), ("1E", "1e18"), (".5", "0.5"), ("-1", "-1"),
        (2, "2"), (0.5, "0.5"),
    ],
)  # fmt: skip
def test_quantities_have_their_exact_value(text: str | float, value: str) -> None:
    assert quantity.parse(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "1x", "Mi", "1 Gi", "0x10", "1ki"])
def test_what_is_no_quantity_is_refused_in_upstreams_words(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.parse(text)


@given(st.integers(min_value=0, max_value=10**9))
def test_milli_is_the_inverse_of_the_m_suffix(millis: int) -> None:
    assert quantity.milli(f"{millis}m") == millis


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True), ("app=web", True), ("app==web", True), ("app!=web", False),
        ("app in (web, db)", True), ("app notin (web,db)", False), ("tier", True),
        ("!tier", False), ("!other", True), ("app=web,tier=back", True), ("other!=x", True),
        ("app=web,tier in (front)", False), ("other notin (x)", True), ("other in (x)", False),
    ],
)  # fmt: skip
def test_label_selectors_select_as_upstreams_do(text: str, selected: bool) -> None:
    labels = {"app": "web", "tier": "back"}
    assert selectors.parse_labels(text).matches(labels) is selected


@pytest.mark.parametrize("text", ["app=(x)", "a in", "=x", "a b", "a=b c=d", "-bad=1"])
def test_a_malformed_label_selector_is_refused(text: str) -> None:
    with pytest.raises(selectors.SelectorError, match="unable to parse requirement"):
        selectors.parse_labels(text)


def test_a_missing_selector_object_selects_nothing_and_an_empty_one_everything() -> None:
    assert selectors.from_label_selector(None) is None
    everything = selectors.from_label_selector(LabelSelector())
    assert everything is not None and everything.matches({})


def test_match_expressions_and_match_labels_must_all_hold() -> None:
    found = selectors.from_label_selector(
        LabelSelector(
            match_labels={"app": "web"},
            match_expressions=(
                LabelSelectorRequirement(key="tier", operator="In", values=("a", "b")),
            ),
        )
    )
    assert found is not None
    assert found.matches({"app": "web", "tier": "a"})
    assert not found.matches({"app": "web", "tier": "c"})


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("spec.nodeName=w1", True),
        ("spec.nodeName!=w1", False),
        ("spec.nodeName=", False),
        ("", True),
    ],
)
def test_field_selectors_compare_exactly(text: str, selected: bool) -> None:
    fields = {"spec.nodeName": "w1"}
    assert selectors.fields_match(selectors.parse_fields(text), fields) is selected


def test_a_field_selector_without_an_operator_is_refused() -> None:
    with pytest.raises(selectors.SelectorError, match=r"can't understand 'spec.nodeName'"):
        selectors.parse_fields("spec.nodeName")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (errors.not_found("pods", "", "a"), 404, 'pods "a" not found'),
        (errors.already_exists("deployments", "apps", "a"), 409,
         'deployments.apps "a" already exists'),
        (errors.conflict("pods", "", "a"), 409,
         'Operation cannot be fulfilled on pods "a": the object has been modified; please apply '
         'your changes to the latest version and try again'),
        (errors.invalid("Pod", "", "a", [StatusCause(field="spec.x", message="Required value")]),
         422, 'Pod "a" is invalid: spec.x: Required value'),
    ],
)  # fmt: skip
def test_errors_carry_upstreams_texts_and_survive_the_wire(
    error: errors.StatusError, code: int, message: str
) -> None:
    status = error.status()
    assert (status.code, status.message, status.reason) == (code, message, error.reason)
    back = errors.from_status(msgspec.json.decode(errors.encode_status(error), type=type(status)))
    assert type(back) is type(error)
    assert back.message == message
