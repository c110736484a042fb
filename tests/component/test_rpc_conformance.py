"""HTTP/2 as RFC 9113 and RFC 7541 have it: what our server says to each kind of bad (or odd) frame.

The cases are of the kind that h2spec has, named after the section; in memory, without sockets. A
connection error may always stand in for a stream error (RFC 9113 5.4.2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest

from kube.rpc.h2.binding import why_not
from kube.rpc.h2.session import Kind, Limits, Session
from kube.rpc.h2.wire import encode_block
from tests.component.rpc_echo import SERVICE
from tests.component.rpc_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAGIC,
    MESSAGE,
    PADDED,
    PING,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH,
    REQUEST,
    RST,
    SETTINGS,
    WINDOW,
    frame,
    literal,
)

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"the shim: {why_not()}")

(
    NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE,
    REFUSED, CANCEL, COMPRESSION,
) = range(10)  # fmt: skip

HEAD = encode_block([(":status", "200"), ("content-type", "application/grpc")])
TRAILERS = encode_block([("grpc-status", "0")])


@dataclass
class Answer:
    """What the server said: `served` streams had their request announced whole."""

    goaway: int | None = None
    resets: dict[int, int] = field(default_factory=dict)
    served: set[int] = field(default_factory=set)
    pongs: list[bytes] = field(default_factory=list)
    acks: int = 0


def ask(data: bytes, *, preface: bytes = MAGIC + frame(SETTINGS, 0, 0)) -> Answer:
    """A server that answers each whole request at once."""
    server, answer, said = Session(Limits(), server=True), Answer(), b""
    for event in server.feed(preface + data):
        kind, ends, stream, _, body = event
        if kind == Kind.MESSAGE:
            server.consume(stream, len(body))
        if kind == Kind.END or (kind in (Kind.HEADERS, Kind.TRAILERS) and ends):
            answer.served.add(stream)
            server.answer(stream, HEAD, b"ok", TRAILERS)
    more = True
    while more:
        piece, more = server.pull()
        said += piece
    server.close()
    while said:
        length, kind, flags = int.from_bytes(said[:3], "big"), said[3], said[4]
        stream = int.from_bytes(said[5:9], "big")
        payload, said = said[9 : 9 + length], said[9 + length :]
        if kind == GOAWAY:
            answer.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == RST:
            answer.resets[stream] = int.from_bytes(payload, "big")
        elif kind == PING and flags & ACK:
            answer.pongs.append(payload)
        elif kind == SETTINGS and flags & ACK:
            answer.acks += 1
    return answer


def request(stream: int, flags: int = END_HEADERS, fields: bytes = REQUEST) -> bytes:
    return frame(HEADERS, flags, stream, fields)


def whole(stream: int) -> bytes:
    return request(stream) + frame(DATA, END_STREAM, stream, MESSAGE)


def fields(*extra: tuple[bytes, bytes], without: bytes = b"") -> bytes:
    """A request's block by hand, with fields more, or without one pseudo-header."""
    pseudo = [
        (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"),
        (b":path", f"/{SERVICE}/Unary".encode()),
    ]  # fmt: skip
    rest = [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
    kept = [pair for pair in pseudo if pair[0] != without]
    return b"".join(literal(name, value) for name, value in [*kept, *rest, *extra])


def setting(number: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", number, value))


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


HALF = len(REQUEST) // 2
HUFFMAN_TEST = b"\x00\x85\xf2\xb2\x4a\x84\xff"  # a literal field whose name is "x-test"
OPEN = request(1)
CLOSED = whole(1)  # answered at once, so closed for both

# Section and case -> what is sent, and the code of the GOAWAY that must answer it.
CONNECTION_ERRORS: dict[str, tuple[bytes, set[int]]] = {
    "4.1 a frame on a stream that must have none: SETTINGS": (
        frame(SETTINGS, 0, 1), {PROTOCOL}),
    "4.2 a frame above SETTINGS_MAX_FRAME_SIZE": (
        OPEN + frame(DATA, 0, 1, b"\0" * 16385), {FRAME_SIZE}),
    "4.2 a large frame that carries the connection's state": (
        frame(SETTINGS, 0, 0, b"\0" * 16386), {FRAME_SIZE}),
    "4.3 a block that does not decode": (
        request(1, fields=b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"), {COMPRESSION}),
    "4.3 a block is interrupted by another frame": (
        frame(HEADERS, 0, 1, REQUEST[:HALF]) + frame(PING, 0, 0, b"\0" * 8), {PROTOCOL}),
    "4.3 a block is interrupted by another stream's block": (
        frame(HEADERS, 0, 1, REQUEST[:HALF]) + request(3), {PROTOCOL}),
    "4.3 a block is interrupted by an unknown frame": (
        frame(HEADERS, 0, 1, REQUEST[:HALF]) + frame(0x16, 0, 0), {PROTOCOL}),
    "5.1 idle: DATA": (frame(DATA, 0, 1, MESSAGE), {PROTOCOL, STREAM_CLOSED}),
    "5.1 idle: RST_STREAM": (frame(RST, 0, 1, u32(CANCEL)), {PROTOCOL}),
    "5.1 idle: WINDOW_UPDATE": (frame(WINDOW, 0, 1, u32(100)), {PROTOCOL}),
    "5.1 idle: CONTINUATION": (frame(CONTINUATION, END_HEADERS, 1, REQUEST), {PROTOCOL}),
    "5.1.1 an even stream number": (request(2), {PROTOCOL}),
    "6.1 DATA on stream 0": (frame(DATA, 0, 0, MESSAGE), {PROTOCOL}),
    "6.1 padding as long as the payload": (
        OPEN + frame(DATA, PADDED, 1, b"\x06" + MESSAGE), {PROTOCOL}),
    "6.1 no room for the pad length": (OPEN + frame(DATA, PADDED, 1), {FRAME_SIZE, PROTOCOL}),
    "6.2 HEADERS on stream 0": (request(0), {PROTOCOL}),
    "6.2 padding longer than the block": (
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + REQUEST), {PROTOCOL}),
    "6.2 no room for the priority": (
        frame(HEADERS, END_HEADERS | PRIORITY_FLAG, 1, b"\0\0"), {FRAME_SIZE, PROTOCOL}),
    "6.3 PRIORITY on stream 0": (frame(PRIORITY, 0, 0, u32(1) + b"\x10"), {PROTOCOL}),
    "6.4 RST_STREAM on stream 0": (frame(RST, 0, 0, u32(CANCEL)), {PROTOCOL}),
    "6.4 RST_STREAM of a wrong size": (OPEN + frame(RST, 0, 1, b"\0\0\0"), {FRAME_SIZE}),
    "6.5 an acknowledgement with a payload": (
        frame(SETTINGS, ACK, 0, b"\0" * 6), {FRAME_SIZE}),
    "6.5 not a multiple of six": (frame(SETTINGS, 0, 0, b"\0" * 5), {FRAME_SIZE}),
    "6.5.2 ENABLE_PUSH of 2": (setting(2, 2), {PROTOCOL}),
    "6.5.2 INITIAL_WINDOW_SIZE of 2^31": (setting(4, 2**31), {FLOW_CONTROL}),
    "6.5.2 MAX_FRAME_SIZE of 16383": (setting(5, 2**14 - 1), {PROTOCOL}),
    "6.5.2 MAX_FRAME_SIZE of 2^24": (setting(5, 2**24), {PROTOCOL}),
    "6.6 a client pushes": (OPEN + frame(PUSH, END_HEADERS, 1, u32(2) + REQUEST), {PROTOCOL}),
    "6.7 PING on a stream": (frame(PING, 0, 1, b"\0" * 8), {PROTOCOL}),
    "6.7 PING of a wrong size": (frame(PING, 0, 0, b"\0" * 7), {FRAME_SIZE}),
    "6.8 GOAWAY on a stream": (frame(GOAWAY, 0, 1, b"\0" * 8), {PROTOCOL}),
    "6.8 GOAWAY of a wrong size": (frame(GOAWAY, 0, 0, b"\0" * 7), {FRAME_SIZE}),
    "6.9 an increment of 0 for the connection": (frame(WINDOW, 0, 0, u32(0)), {PROTOCOL}),
    "6.9 WINDOW_UPDATE of a wrong size": (frame(WINDOW, 0, 0, b"\0" * 3), {FRAME_SIZE}),
    "6.9.1 the connection's window overflows": (
        frame(WINDOW, 0, 0, u32(2**31 - 1)), {FLOW_CONTROL}),
    "6.10 CONTINUATION after the block's end": (
        OPEN + frame(CONTINUATION, END_HEADERS, 1, REQUEST), {PROTOCOL}),
    "6.10 CONTINUATION on stream 0": (
        frame(HEADERS, 0, 1, REQUEST[:HALF]) + frame(CONTINUATION, END_HEADERS, 0, REQUEST[HALF:]),
        {PROTOCOL}),
    "6.10 CONTINUATION of another stream": (
        frame(HEADERS, 0, 1, REQUEST[:HALF]) + frame(CONTINUATION, END_HEADERS, 3, REQUEST[HALF:]),
        {PROTOCOL}),
    "7541-2.3.3 an index beyond the table": (request(1, fields=REQUEST + b"\xc6"), {COMPRESSION}),
    "7541-4.2 a table larger than we allow": (
        request(1, fields=b"\x3f\xe2\x1f" + REQUEST), {COMPRESSION}),
    "7541-4.2 a size update in the middle of a block": (
        request(1, fields=REQUEST + b"\x20"), {COMPRESSION}),
    "7541-5.2 Huffman padding longer than seven bits": (
        request(1, fields=REQUEST + HUFFMAN_TEST + b"\x84\x49\x50\x9f\xff"),
        {COMPRESSION}),
    "7541-5.2 Huffman padding with zeros": (
        request(1, fields=REQUEST + HUFFMAN_TEST + b"\x83\x49\x50\x90"),
        {COMPRESSION}),
    "7541-5.2 Huffman with the EOS symbol": (
        request(1, fields=REQUEST + HUFFMAN_TEST + b"\x87\x49\x51\xff\xff\xff\xfa\x7f"),
        {COMPRESSION}),
    "7541-6.1 index 0": (request(1, fields=REQUEST + b"\x80"), {COMPRESSION}),
}  # fmt: skip

# The same for one stream, number 1 unless said: RST_STREAM, or GOAWAY with one of these codes.
STREAM_ERRORS: dict[str, tuple[bytes, set[int]]] = {
    "5.1 half closed: DATA": (
        request(1, END_HEADERS | END_STREAM) + frame(DATA, 0, 1, MESSAGE), {STREAM_CLOSED}),
    "5.1 half closed: HEADERS": (
        request(1, END_HEADERS | END_STREAM) + request(1, END_HEADERS | END_STREAM),
        {STREAM_CLOSED, PROTOCOL}),
    "5.3.1 a stream depends on itself": (
        frame(HEADERS, END_HEADERS | PRIORITY_FLAG, 1, u32(1) + b"\x10" + REQUEST), {PROTOCOL}),
    "6.3 PRIORITY of a wrong size": (OPEN + frame(PRIORITY, 0, 1, b"\0" * 4), {FRAME_SIZE}),
    "6.9 an increment of 0 for a stream": (OPEN + frame(WINDOW, 0, 1, u32(0)), {PROTOCOL}),
    "6.9.1 a stream's window overflows": (
        OPEN + frame(WINDOW, 0, 1, u32(2**31 - 1)), {FLOW_CONTROL}),
    "8.1 a second HEADERS without END_STREAM": (OPEN + request(1), {PROTOCOL}),
    "8.1.1 content-length differs from the sum of DATA": (
        request(1, fields=fields((b"content-length", b"99")))
        + frame(DATA, END_STREAM, 1, MESSAGE), {PROTOCOL}),
    "8.2.1 a name in capitals": (request(1, fields=fields((b"X-Test", b"a"))), {PROTOCOL}),
    "8.2.1 a name with a space": (request(1, fields=fields((b"x test", b"a"))), {PROTOCOL}),
    "8.2.1 a value with a line feed": (request(1, fields=fields((b"x", b"a\nb"))), {PROTOCOL}),
    "8.2.2 connection": (request(1, fields=fields((b"connection", b"close"))), {PROTOCOL}),
    "8.2.2 transfer-encoding": (
        request(1, fields=fields((b"transfer-encoding", b"chunked"))), {PROTOCOL}),
    "8.2.2 te other than trailers": (
        request(1, fields=fields((b"te", b"trailers, deflate"))), {PROTOCOL}),
    "8.3 an unknown pseudo-header": (
        request(1, fields=literal(b":test", b"a") + fields()), {PROTOCOL}),
    "8.3 a response's pseudo-header": (
        request(1, fields=literal(b":status", b"200") + fields()), {PROTOCOL}),
    "8.3 a pseudo-header after others": (
        request(1, fields=fields((b":path", b"/x"), without=b":path")), {PROTOCOL}),
    "8.3 a pseudo-header in trailers": (
        OPEN + frame(HEADERS, END_HEADERS | END_STREAM, 1, literal(b":method", b"POST")),
        {PROTOCOL}),
    "8.3.1 no :method": (request(1, fields=fields(without=b":method")), {PROTOCOL}),
    "8.3.1 no :scheme": (request(1, fields=fields(without=b":scheme")), {PROTOCOL}),
    "8.3.1 no :path": (request(1, fields=fields(without=b":path")), {PROTOCOL}),
    "8.3.1 an empty :path": (
        request(1, fields=literal(b":path", b"") + fields(without=b":path")), {PROTOCOL}),
    "8.3.1 two :path": (
        request(1, fields=literal(b":path", b"/x") + fields()), {PROTOCOL}),
}  # fmt: skip

# What looks odd and is allowed: the call on stream 1 (and 3, if asked) is served all the same.
FINE: dict[str, bytes] = {
    "3.4 whole requests": CLOSED + whole(3),
    "4.1 unknown frame types": frame(0x16, 0xFF, 0, b"?") + CLOSED + frame(0x17, 0, 1, b"?"),
    "4.1 unknown flags": frame(PING, 0x16, 0, b"\0" * 8) + CLOSED,
    "4.1 the reserved bit": frame(PING, 0, 2**31, b"\0" * 8) + CLOSED,
    "4.2 a frame of exactly SETTINGS_MAX_FRAME_SIZE": (
        OPEN + frame(DATA, END_STREAM, 1, b"\0" + u32(16379) + b"x" * 16379)
    ),
    "5.1 PRIORITY on an idle stream": frame(PRIORITY, 0, 1, u32(0) + b"\x10") + CLOSED,
    "5.1 closed: PRIORITY": CLOSED + frame(PRIORITY, 0, 1, u32(0) + b"\x10"),
    "5.1 closed: WINDOW_UPDATE and RST_STREAM": (
        CLOSED + frame(WINDOW, 0, 1, u32(100)) + frame(RST, 0, 1, u32(CANCEL))
    ),
    "5.5 SETTINGS that nobody knows": setting(0xFF, 1) + CLOSED,
    "6.1 padded DATA": OPEN
    + frame(DATA, END_STREAM | PADDED, 1, b"\x06" + MESSAGE + b"\0" * 6),
    "6.2 padded HEADERS with a priority": frame(
        HEADERS, END_HEADERS | PADDED | PRIORITY_FLAG, 1,
        b"\x03" + u32(0) + b"\x10" + REQUEST + b"\0" * 3,
    ) + frame(DATA, END_STREAM, 1, MESSAGE),
    "6.10 a block in three pieces": frame(HEADERS, 0, 1, REQUEST[:5])
    + frame(CONTINUATION, 0, 1, REQUEST[5:9])
    + frame(CONTINUATION, END_HEADERS, 1, REQUEST[9:])
    + frame(DATA, END_STREAM, 1, MESSAGE),
    "8.1 trailers of a request": OPEN + frame(DATA, 0, 1, MESSAGE)
    + frame(HEADERS, END_HEADERS | END_STREAM, 1, literal(b"x", b"a")),
    "7541-4.2 a smaller table": request(1, fields=b"\x20" + REQUEST)
    + frame(DATA, END_STREAM, 1, MESSAGE),
    "7541-6.2 fields with and without indexing": request(
        1, fields=REQUEST + literal(b"x", b"a", index=True) + b"\xbe" + b"\x10\x01y\x01b"
    ) + frame(DATA, END_STREAM, 1, MESSAGE),
}  # fmt: skip


# Where libnghttp2 is milder than the standard: what is wrong is not served, nothing else harmed.
MILDER: dict[str, tuple[bytes, dict[int, int]]] = {
    "5.1.1 a lower stream number than before is ignored": (whole(5) + request(3, 5), {}),
    "5.1 closed by RST_STREAM: HEADERS are ignored": (
        OPEN + frame(RST, 0, 1, u32(CANCEL)) + request(1, 5), {}),
    "6.9.2 a setting that overflows a stream's window resets the stream": (
        setting(4, 2**16) + OPEN + frame(WINDOW, 0, 1, u32(2**31 - 1 - 2**16))
        + setting(4, 2**31 - 1), {1: FLOW_CONTROL}),
}  # fmt: skip


@pytest.mark.parametrize(("data", "codes"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS)
def test_a_connection_error_ends_the_connection(data: bytes, codes: set[int]) -> None:
    answer = ask(data + whole(7))
    assert answer.goaway in codes
    assert 7 not in answer.served


@pytest.mark.parametrize(("data", "codes"), STREAM_ERRORS.values(), ids=STREAM_ERRORS)
def test_a_stream_error_ends_the_stream(data: bytes, codes: set[int]) -> None:
    answer = ask(data + whole(7))
    if answer.goaway is None:
        assert answer.resets.get(1) in codes
        assert 7 in answer.served, "the other streams are not concerned"
    else:
        assert answer.goaway in codes


@pytest.mark.parametrize("data", FINE.values(), ids=FINE)
def test_what_is_allowed_is_served(data: bytes) -> None:
    answer = ask(data + whole(7))
    assert (answer.goaway, answer.resets) == (None, {})
    assert {1, 7} <= answer.served


@pytest.mark.parametrize(("data", "resets"), MILDER.values(), ids=MILDER)
def test_what_is_let_pass_harms_nothing(data: bytes, resets: dict[int, int]) -> None:
    answer = ask(data + whole(7))
    assert (answer.goaway, answer.resets) == (None, resets)
    assert answer.served <= {5, 7}
    assert 7 in answer.served


def test_3_4_another_preface_ends_the_connection() -> None:
    assert ask(b"", preface=b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" + b"\0" * 30).served == set()
    assert ask(whole(1), preface=MAGIC + frame(PING, 0, 0, b"\0" * 8)).goaway == PROTOCOL


def test_6_5_3_settings_are_acknowledged_each() -> None:
    assert ask(setting(3, 10) + setting(1, 0)).acks == 3


def test_6_7_a_ping_is_answered_with_what_it_holds_and_an_answer_is_not() -> None:
    assert ask(frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, b"87654321")).pongs == [
        b"12345678"
    ]


def test_6_9_data_wait_for_the_window() -> None:
    """With windows of nothing the head is sent and no message; an update lets it go."""
    server = Session(Limits(), server=True)
    server.feed(MAGIC + setting(4, 0) + whole(1))
    server.answer(1, HEAD, b"ok", TRAILERS)
    said, _ = server.pull()
    assert [kind for kind, _ in _frames(said)] == [SETTINGS, SETTINGS, WINDOW, HEADERS]
    server.feed(frame(WINDOW, 0, 1, u32(3)))
    assert _frames(server.pull()[0]) == [(DATA, 3)]
    server.feed(setting(4, 100))
    assert [kind for kind, _ in _frames(server.pull()[0])] == [SETTINGS, DATA, HEADERS]
    server.close()


def test_5_1_2_streams_above_the_limit_are_refused() -> None:
    """One by one until the client has confirmed the limit; then it should know."""
    server = Session(Limits(max_streams=2), server=True)
    server.feed(MAGIC + frame(SETTINGS, 0, 0))
    server.pull()
    server.feed(request(1) + request(3) + request(5))
    said, _ = server.pull()
    assert _frames(said) == [(RST, 4)]
    assert said[-4:] == u32(REFUSED)
    server.feed(frame(SETTINGS, ACK, 0) + request(7))
    said, _ = server.pull()
    assert [kind for kind, _ in _frames(said)] == [GOAWAY]
    server.close()


def _frames(said: bytes) -> list[tuple[int, int]]:
    """Kind and payload's length of each."""
    found = []
    while said:
        length = int.from_bytes(said[:3], "big")
        found.append((said[3], length))
        said = said[9 + length :]
    return found
