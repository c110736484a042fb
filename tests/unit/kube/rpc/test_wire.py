"""gRPC's textual parts, against grpcio's rules and by round trips."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.rpc.errors import Code
from kube.rpc.h2.wire import (
    BadHeader,
    code_of_reset,
    decode_block,
    decode_message,
    decode_metadata,
    encode_block,
    encode_message,
    encode_metadata,
    format_timeout,
    parse_status,
    parse_timeout,
    status_fields,
)

NAMES = st.from_regex(r"[a-z0-9_.\-]{1,20}", fullmatch=True).filter(
    lambda n: not n.startswith("grpc-") and n not in ("te", "host", "content-length")
)
TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(st.text())
def test_messages_survive_percent_encoding(text: str) -> None:
    sent = encode_message(text)
    assert sent.isascii()
    assert not any(ord(c) < 0x20 for c in sent)
    assert decode_message(sent) == text


def test_broken_percent_encoding_is_shown_as_it_is() -> None:
    assert decode_message("100%") == "100%"
    assert decode_message("%zz%41") == "%zzA"


@given(st.floats(min_value=0, max_value=1e9))
def test_timeouts_are_never_shortened(seconds: float) -> None:
    text = format_timeout(seconds)
    assert len(text) <= 9
    again = parse_timeout(text)
    assert again >= seconds * (1 - 1e-9)
    assert again <= seconds * 1.01 + 1e-9 + 3600 * (seconds > 1e8)


@pytest.mark.parametrize("text", ["", "1", "S", "123456789S", "-1S", "1.5S", "1s", "1 S"])
def test_bad_timeouts(text: str) -> None:
    with pytest.raises(BadHeader):
        parse_timeout(text)


@given(st.dictionaries(NAMES.filter(lambda n: not n.endswith("-bin")), TEXTS))
def test_text_metadata_survives(metadata: dict[str, str]) -> None:
    fields = encode_metadata(metadata.items())
    assert decode_metadata(decode_block(encode_block(fields))) == metadata


@given(st.binary())
def test_binary_metadata_survives_with_and_without_padding(value: bytes) -> None:
    ((name, text),) = encode_metadata([("x-bin", value)])
    assert "=" not in text
    padded = text + "=" * (-len(text) % 4)
    assert decode_metadata({name: text}) == decode_metadata({name: padded}) == {"x-bin": value}


@pytest.mark.parametrize(
    "field", [("Upper", "a"), (":path", "a"), ("grpc-status", "0"), ("te", "x"), ("a", "b\n")]
)
def test_metadata_cannot_forge_headers(field: tuple[str, str]) -> None:
    with pytest.raises(BadHeader):
        encode_metadata([field])


def test_bad_base64_is_told() -> None:
    with pytest.raises(BadHeader):
        decode_metadata({"x-bin": "!!!"})


def test_statuses() -> None:
    fields = dict(status_fields(Code.NOT_FOUND, "ä", [("d-bin", b"\1")]))
    assert parse_status(fields) == (Code.NOT_FOUND, "ä")
    assert parse_status({"grpc-status": "99"})[0] is Code.UNKNOWN
    assert parse_status({":status": "503"})[0] is Code.UNAVAILABLE
    assert parse_status({":status": "404"})[0] is Code.UNIMPLEMENTED
    assert parse_status({})[0] is Code.UNKNOWN
    assert code_of_reset(8) is Code.CANCELLED
    assert code_of_reset(1) is Code.INTERNAL
