"""gRPC over HTTP/2 as text (grpc/doc/PROTOCOL-HTTP2.md): headers, timeouts, messages, metadata.

Pure functions; frames and message boundaries are the shim's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

from kube.rpc.errors import Code

Metadata = Iterable[tuple[str, str | bytes]]

# Headers of the protocol itself, which are no metadata of the call.
RESERVED = frozenset(
    (
        "te", "content-type", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding",
        "grpc-status", "grpc-message", "host", "content-length",
    )
)  # fmt: skip
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_KEY = re.compile(r"[0-9a-z_.\-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_MAX_TIMEOUT_DIGITS = 99_999_999

# What a call without grpc-status ended as, from HTTP's status (doc/http-grpc-status-mapping.md).
_HTTP = {
    400: Code.INTERNAL, 401: Code.UNAUTHENTICATED, 403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED, 429: Code.UNAVAILABLE, 502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE, 504: Code.UNAVAILABLE,
}  # fmt: skip
# The same from RST_STREAM's error code (PROTOCOL-HTTP2.md "Errors").
_RESETS = {
    0x7: Code.UNAVAILABLE, 0x8: Code.CANCELLED, 0xB: Code.RESOURCE_EXHAUSTED,
    0xC: Code.PERMISSION_DENIED,
}  # fmt: skip


class BadHeader(ValueError):
    """A header that the protocol does not allow; the message names it."""


def encode_block(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block as the shim takes it."""
    return "".join(f"{name}\0{value}\0" for name, value in fields).encode("latin-1")


def decode_block(block: bytes) -> dict[str, str]:
    """The fields of a block; of a repeated name the last one."""
    parts = block.decode("latin-1").split("\0")
    return dict(zip(parts[0::2], parts[1::2], strict=False))


def is_grpc(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("application/grpc")


def parse_timeout(text: str) -> float:
    """`grpc-timeout` in seconds."""
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise BadHeader(f'grpc-timeout "{text}"')
    return int(found[1]) * _UNITS[found[2]]


def format_timeout(seconds: float) -> str:
    """The finest unit that eight digits can hold, rounded up: never earlier than asked."""
    seconds = max(seconds, 0.0)
    for unit, scale in (("n", 1e9), ("u", 1e6), ("m", 1e3), ("S", 1.0)):
        value = seconds * scale
        if value < _MAX_TIMEOUT_DIGITS:
            return f"{-int(-value // 1)}{unit}"
    return f"{min(int(seconds / 3600) + 1, _MAX_TIMEOUT_DIGITS)}H"


def encode_message(text: str) -> str:
    """`grpc-message`: percent-encoded UTF-8, everything but printable ASCII without `%`."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogatepass")
    )


def decode_message(text: str) -> str:
    """Broken encodings stay as they are: the message is for people."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "replace")


def encode_metadata(metadata: Metadata) -> list[tuple[str, str]]:
    """As header fields: bytes (names that end in -bin) in base64 without padding."""
    fields = []
    for name, value in metadata:
        if not _KEY.fullmatch(name) or name in RESERVED or name.startswith("grpc-"):
            raise BadHeader(f'metadata name "{name}"')
        if name.endswith("-bin"):
            raw = value.encode() if isinstance(value, str) else value
            fields.append((name, base64.b64encode(raw).decode().rstrip("=")))
            continue
        text = value if isinstance(value, str) else value.decode("latin-1")
        if not _VALUE.fullmatch(text):
            raise BadHeader(f'value of metadata "{name}"')
        fields.append((name, text))
    return fields


def decode_metadata(headers: Mapping[str, str]) -> dict[str, str | bytes]:
    """A call's metadata: the fields that are not the protocol's; `-bin` as bytes."""
    found: dict[str, str | bytes] = {}
    for name, value in headers.items():
        if name[0] == ":" or name in RESERVED:
            continue
        found[name] = _decode_binary(name, value) if name.endswith("-bin") else value
    return found


def _decode_binary(name: str, value: str) -> bytes:
    # Of joined duplicates (RFC 9110 5.3) the last, as everywhere here.
    value = value.rpartition(",")[2].strip()
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadHeader(f'metadata "{name}" is not base64') from error


def status_fields(code: Code, message: str, trailers: Metadata = ()) -> list[tuple[str, str]]:
    fields = [("grpc-status", str(int(code)))]
    if message:
        fields.append(("grpc-message", encode_message(message)))
    return fields + encode_metadata(trailers)


def parse_status(headers: Mapping[str, str]) -> tuple[Code, str]:
    """How a call ended, from its trailers (or from its only headers)."""
    text = headers.get("grpc-status")
    if text is None:
        status = headers.get(":status", "200")
        if status == "200":
            return Code.UNKNOWN, "the server sent no grpc-status"
        code = _HTTP.get(int(status), Code.UNKNOWN) if status.isdecimal() else Code.UNKNOWN
        return code, f"the server answered with HTTP status {status}"
    try:
        code = Code(int(text))
    except ValueError:
        code = Code.UNKNOWN
    return code, decode_message(headers.get("grpc-message", ""))


def code_of_reset(error: int) -> Code:
    return _RESETS.get(error, Code.INTERNAL)
