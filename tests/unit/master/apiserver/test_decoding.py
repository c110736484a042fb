"""From bytes to typed objects: what is taken, what is refused, in whose words."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.apps import Deployment
from kube.api.coordination import Lease
from kube.api.core import ConfigMap, Node, Pod
from kube.machinery import quantity
from kube.machinery.errors import BadRequest, TooLarge, UnsupportedMediaType
from kube.machinery.schema import schema_of
from master.apiserver.decoding import limits, query
from master.apiserver.decoding.inflate import inflated
from master.apiserver.decoding.jsontext import Problems, decode_json
from master.apiserver.decoding.times import NotATime, is_stored_form, to_stored_form
from master.apiserver.decoding.typed import decode_fast, to_typed, unknown_fields
from master.apiserver.decoding.yamltext import decode_yaml

PLAIN, MICRO = "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000000Z07:00"


@pytest.mark.parametrize(
    ("text", "kind", "stored"),
    [
        ("2026-01-02T03:04:05Z", "Time", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.999Z", "Time", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05,5+02:00", "Time", "2026-01-02T01:04:05Z"),
        ("0099-01-02T03:04:05Z", "Time", "0099-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.000001-01:30", "MicroTime", "2026-01-02T04:34:05.000001Z"),
    ],
)
def test_times_are_stored_in_utc(text: str, kind: Any, stored: str) -> None:
    assert to_stored_form(text, kind) == stored
    assert is_stored_form(stored, kind)


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("soon", "Time", f'parsing time "soon" as "{PLAIN}": cannot parse "soon" as "2006"'),
        ("", "Time", f'parsing time "" as "{PLAIN}": cannot parse "" as "2006"'),
        ("2026-01-02 03:04:05Z", "Time", 'cannot parse " 03:04:05Z" as "T"'),
        ("2026-01-02T03:04:05", "Time", 'cannot parse "" as "Z07:00"'),
        ("2026-01-02T03:04:05Z", "MicroTime", f'as "{MICRO}": cannot parse "Z" as ".000000"'),
        ("2026-01-02T03:04:05.1Z", "MicroTime", 'cannot parse ".1Z" as ".000000"'),
        ("2026-02-30T03:04:05Z", "Time", "parsing time"),
        ("2026-01-02T03:04:05Zx", "Time", 'extra text: "x"'),
        ("٢026-01-02T03:04:05Z", "Time", 'as "2006"'),
        ("0001-01-01T00:00:00+14:00", "Time", "parsing time"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_in_gos_words(text: str, kind: Any, why: str) -> None:
    assert not is_stored_form(text, kind)
    with pytest.raises(NotATime) as caught:
        to_stored_form(text, kind)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("type_", "value", "why"),
    [
        (Deployment, {"spec": {"replicas": 10**20}},
         f"json: cannot unmarshal number {10**20} into Go struct field "
         "DeploymentSpec.spec.replicas of type int32 - at `$.spec.replicas`"),
        (Deployment, {"spec": {"replicas": 1.5}}, "number 1.5 into Go struct field"),
        (Deployment, {"spec": {"replicas": True}}, "cannot unmarshal bool into"),
        (Pod, {"spec": {"containers": {"a": 1}}},
         "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type "
         "[]v1.Container"),
        (Pod, {"spec": {"containers": [{"name": 5}]}},
         "json: cannot unmarshal number into Go struct field Container.spec.containers.name "
         "of type string - at `$.spec.containers[0].name`"),
        (ConfigMap, {"data": {"a": "x", "b": 1}},
         "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        (ConfigMap, {"metadata": 3}, "Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
        (ConfigMap, [], "json: cannot unmarshal array into Go value of type v1.ConfigMap"),
        (Lease, {"spec": {"renewTime": 5}}, "json: cannot unmarshal number into Go value of type"),
        (Node, {"status": {"capacity": {"cpu": True}}}, quantity.NOT_A_QUANTITY),
        (Node, {"status": {"capacity": {"cpu": [1]}}}, quantity.NOT_A_QUANTITY),
    ],
)  # fmt: skip
def test_wrong_types_are_named_as_go_names_them(type_: Any, value: Any, why: str) -> None:
    with pytest.raises(BadRequest) as caught:
        to_typed(type_, value, "it")
    assert why in str(caught.value)


def test_amounts_that_are_numbers_become_their_text() -> None:
    node = to_typed(Node, {"status": {"capacity": {"cpu": 0.5, "pods": 3, "x/y": None}}}, "it")
    assert node.status.capacity == {"cpu": "500m", "pods": "3"}


@pytest.mark.parametrize("text", ["1e999999999", "9" * 60, "1e-999999999", "99999999999E"])
def test_no_amount_is_larger_than_a_number_of_64_bits(text: str) -> None:
    assert 0 < quantity.parse(text) <= 2**63 - 1
    assert quantity.whole(text) < 2**63


def test_canonical_bodies_take_the_fast_way_and_others_the_same_as_rest() -> None:
    body = b'{"metadata":{"name":"a"},"spec":{"renewTime":"2026-01-02T03:04:05.000000Z"}}'
    assert decode_fast(Lease, body, "it").spec.renew_time == "2026-01-02T03:04:05.000000Z"
    zoned = body.replace(b"000000Z", b"000000+01:00")
    assert decode_fast(Lease, zoned, "it").spec.renew_time == "2026-01-02T02:04:05.000000Z"
    with pytest.raises(BadRequest):
        decode_fast(Lease, body.replace(b".000000", b""), "it")


def test_only_so_many_unknown_fields_are_told() -> None:
    assert len(unknown_fields({f"k{n}": 1 for n in range(5000)}, schema_of(ConfigMap))) == 100


def test_values_in_texts_do_not_count_as_values() -> None:
    limits.check_json(b'{"a":"' + b",[{" * 100_000 + b'","b":"\\"' + b"," * 100_000 + b'"}')
    for body in (b"[" + b"1," * 50_000 + b"1]", b"[" + b'"",' * 100_000 + b"1]"):
        with pytest.raises(TooLarge):
            limits.check_json(body)
    with pytest.raises(BadRequest):
        limits.check_json(b"[" * 100_000)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda below: st.lists(below, max_size=4)
    | st.dictionaries(st.text(max_size=4), below, max_size=4),
))  # fmt: skip
def test_the_count_is_never_too_low(value: Any) -> None:
    def count(item: Any) -> int:
        if isinstance(item, dict):
            return 1 + sum(count(child) for child in item.values())
        return 1 + sum(count(child) for child in item) if isinstance(item, list) else 1

    assert limits.count_values(json.dumps(value).encode()) + 1 >= count(value)


def test_duplicate_fields_are_noted() -> None:
    problems = Problems()
    assert decode_json(b'{"a":1,"a":2,"b":{"c":1,"c":1}}', problems) == {"a": 2, "b": {"c": 1}}
    assert problems.found == ['duplicate field "c"', 'duplicate field "a"']


async def test_yaml_becomes_what_its_json_would_be() -> None:
    text = b"""
a: &x {one: 1, yes: yes, when: 2026-01-02, mode: 0644, hex: 0x1f, text: "5", none: ~}
b: *x
c: [1.5, 1e3, -7, 'on', .5, 1_000]
d:
  <<: *x
  one: 2
5: five
true: really
"""
    x = {
        "one": 1,
        "true": True,
        "when": "2026-01-02",
        "mode": 420,
        "hex": 31,
        "text": "5",
        "none": None,
    }
    assert await decode_yaml(text) == {
        "a": x, "b": x, "c": [1.5, 1000, -7, "on", 0.5, 1000], "d": {**x, "one": 2},
        "5": "five", "true": "really",
    }  # fmt: skip
    problems = Problems()
    assert await decode_yaml(b"a: 1\na: 2", problems) == {"a": 2}
    assert problems.found == ['key "a" already set in map']
    assert await decode_yaml(b'{"a": "b"}') == {"a": "b"}
    assert await decode_yaml(b"{a: b}") == {"a": "b"}


@given(
    st.binary(max_size=200)
    | st.text(alphabet="ab:-&*[]{}!|>?#%@`'\"\n <,1", max_size=60).map(str.encode)
)
async def test_no_yaml_crashes(body: bytes) -> None:
    with contextlib.suppress(BadRequest, TooLarge):
        await decode_yaml(body)


def test_compressed_bodies_are_bounded() -> None:
    assert inflated(gzip.compress(b"x"), "gzip") == inflated(zlib.compress(b"x"), "deflate") == b"x"
    with pytest.raises(TooLarge):
        inflated(gzip.compress(bytes(4 * limits.MAX_BODY_BYTES)), "gzip")
    with pytest.raises(BadRequest):
        inflated(b"garbage", "gzip")
    with pytest.raises(UnsupportedMediaType):
        inflated(b"x", "br")


@pytest.mark.parametrize("text", ["--5", "5x", "٣", "9" * 5000, "9223372036854775808", " 5", "1.0"])
def test_queries_are_read_as_go_reads_them(text: str) -> None:
    with pytest.raises(BadRequest):
        query.integer({"n": text}, "n")
    with pytest.raises(BadRequest):
        query.revision(text)
    assert query.integer({"n": "-5"}, "n") == -5
    assert query.integer({}, "n") is None
