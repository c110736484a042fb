"""Compressed bodies, unpacked no further than a body may be long. Pure."""

from __future__ import annotations

import zlib

from kube.machinery.errors import BadRequest, UnsupportedMediaType
from master.apiserver.decoding import limits

# What zlib calls the formats: 16 more than the window's size is gzip's frame.
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def inflated(body: bytes, encoding: str) -> bytes:
    """The body without its Content-Encoding. Raises BadRequest, TooLarge, UnsupportedMediaType."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOWS:
        raise UnsupportedMediaType(f'the content encoding "{encoding[:40]}" is not supported')
    unpacker = zlib.decompressobj(_WINDOWS[encoding])
    try:
        # One byte more than allowed tells a body that is too long from one that is just not.
        whole = unpacker.decompress(body, limits.MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is no {encoding}: {error}") from error
    if len(whole) > limits.MAX_BODY_BYTES:
        raise limits.too_large()
    if not unpacker.eof or unpacker.unused_data:
        raise BadRequest(f"the body is no {encoding}: unexpected EOF")
    return whole
