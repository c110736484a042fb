"""HTTP/2 written by hand: what the tests of bad and hostile peers share."""

from __future__ import annotations

import struct

from tests.component.rpc_echo import SERVICE

MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
PRIORITY, PUSH = 2, 5
PRIORITY_FLAG, ACK = 0x20, 1
CALM = 0xB


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes, *, index: bool = False) -> bytes:
    """HPACK: a literal field without Huffman; with `index` it enters the dynamic table."""
    return (
        (b"\x40" if index else b"\x00") + _length(name) + name + _length(value) + value
    )  # fmt: skip


def _length(data: bytes) -> bytes:
    if len(data) < 127:
        return bytes([len(data)])
    rest, out = len(data) - 127, b"\x7f"
    while rest >= 128:
        out += bytes([rest % 128 + 128])
        rest //= 128
    return out + bytes([rest])


REQUEST = b"\x83\x86" + b"".join(
    literal(name, value)
    for name, value in (
        (b":authority", b"a"), (b":path", f"/{SERVICE}/Unary".encode()),
        (b"te", b"trailers"), (b"content-type", b"application/grpc"),
    )
)  # fmt: skip
MESSAGE = b"\0\0\0\0\0"
