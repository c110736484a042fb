"""The gateway's JSON, against protobuf's own and by round trips."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from kube.stubs.etcd import kv_pb2, rpc_pb2
from master.kvstore.gateway.jsonpb import BadJson, json_of, message_of, values

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
KEYS = st.builds(
    kv_pb2.KeyValue, key=st.binary(max_size=8), value=st.binary(max_size=8), lease=INT64,
    mod_revision=INT64,
)  # fmt: skip
RANGES = st.builds(
    rpc_pb2.RangeRequest, key=st.binary(max_size=8), revision=INT64, keys_only=st.booleans(),
    sort_order=st.integers(0, 2), sort_target=st.integers(0, 4),
)  # fmt: skip
PUTS = st.builds(rpc_pb2.PutRequest, key=st.binary(max_size=8), ignore_lease=st.booleans())
OPERATIONS = st.one_of(
    st.builds(rpc_pb2.RequestOp, request_range=RANGES),
    st.builds(rpc_pb2.RequestOp, request_put=PUTS),
)
MESSAGES = st.one_of(
    RANGES,
    st.builds(rpc_pb2.TxnRequest, success=st.lists(OPERATIONS, max_size=3)),
    st.builds(rpc_pb2.RangeResponse, kvs=st.lists(KEYS, max_size=3), more=st.booleans()),
    st.builds(
        rpc_pb2.Member, ID=st.integers(0, (1 << 64) - 1), name=st.text(max_size=5),
        peerURLs=st.lists(st.text(max_size=5), max_size=3),
    ),
    st.builds(rpc_pb2.HashKVResponse, hash=st.integers(0, (1 << 32) - 1)),
)  # fmt: skip


def read(kind: type[Message], text: str) -> Message:
    return message_of(kind, next(values(text), None))


@given(MESSAGES)
def test_protobufs_own_json_says_the_same(message: Message) -> None:
    theirs = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert json.loads(json_of(message)) == theirs
    assert json_format.Parse(json_of(message), type(message)()) == message


@given(MESSAGES, st.booleans())
def test_both_spellings_of_names_are_read(message: Message, original: bool) -> None:
    text = json_format.MessageToJson(message, preserving_proto_field_name=original)
    assert read(type(message), text) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["AAAA", "-1", "9" * 30, "MOD", "a=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["key", "compare", "success", "request_put", "requestTxn", "limit", "x",
                         "sort_order", "mod_revision", "serializable", "failure"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_json_is_a_message_or_refused(value: Any) -> None:
    for kind in (rpc_pb2.TxnRequest, rpc_pb2.RangeRequest, rpc_pb2.Member):
        try:
            message = read(kind, json.dumps(value))
        except BadJson:
            continue
        assert isinstance(message, kind)


@given(st.text())
@example("[" * 100_000)
@example('{"a":' * 100_000)
@example("1" * 5000)
@example("NaN")
def test_any_text_is_values_or_refused(text: str) -> None:
    try:
        for value in values(text):
            message_of(rpc_pb2.PutRequest, value)
    except BadJson:
        return


@pytest.mark.parametrize("depth", [51, 100, 200, 300, 400, 2000])
def test_deeply_nested_transactions_are_refused(depth: int) -> None:
    """As over gRPC: else no member could read what was put into the log."""
    text = '{"success":[{"request_txn":' * depth + "{}" + "}]}" * depth
    with pytest.raises(BadJson):
        read(rpc_pb2.TxnRequest, text)


def test_a_value_can_be_long_but_values_not_many() -> None:
    text = '{"key":"' + "A" * 2_000_000 + '"}'
    assert read(rpc_pb2.PutRequest, text) == rpc_pb2.PutRequest(key=bytes(1_500_000))
    with pytest.raises(BadJson):
        read(rpc_pb2.TxnRequest, '{"compare":[' + "{}," * 200_000 + "{}]}")


def test_what_stands_in_html_is_escaped() -> None:
    shown = json_of(rpc_pb2.Member(name="<&>\u2028é"))
    assert shown == b'{"name":"\\u003c\\u0026\\u003e\\u2028' + "é".encode() + b'"}'


@pytest.mark.parametrize(
    "text",
    ['{"key":"YQ"}', '{"key":"_-8="}', '{"key":"***"}', '{"key":3}', '{"limit":1.0}',
     '{"limit":"0x1"}', '{"limit":9223372036854775808}', '{"limit":true}', '{"sort_order":"x"}',
     '{"serializable":"true"}', "[]", "3", '"x"', "{", '{"key"', "x"],
)  # fmt: skip
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(BadJson):
        read(rpc_pb2.RangeRequest, text)


def test_an_empty_choice_is_one() -> None:
    """`{"request_put": {}}` puts; it is not nothing."""
    message = read(rpc_pb2.RequestOp, '{"request_put":{}}')
    assert isinstance(message, rpc_pb2.RequestOp)
    assert message.WhichOneof("request") == "request_put"
    assert json_of(message) == b'{"request_put":{}}'
