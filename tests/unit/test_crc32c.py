"""CRC-32C: the same as bit by bit, whatever the size and however it comes."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.kvstore.bolt.crc32c import crc32c

_BLOCK = 1 << 16


def bit_by_bit(data: bytes) -> int:
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


@cache
def noise() -> bytes:
    return random.Random(1).randbytes(2 * _BLOCK + 100)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ],
)
def test_known_values(data: bytes, expected: int) -> None:
    """Those of RFC 3720, appendix B.4, among them."""
    assert crc32c([data]) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_pieces(pieces: list[bytes]) -> None:
    assert crc32c(pieces) == bit_by_bit(b"".join(pieces))


@pytest.mark.parametrize("size", [_BLOCK - 4, _BLOCK - 1, _BLOCK, _BLOCK + 1, 2 * _BLOCK + 5])
def test_more_than_a_block(size: int) -> None:
    data = noise()[:size]
    assert crc32c([data[:7], data[7:]]) == bit_by_bit(data)
    assert crc32c([data[: size - 1], b"", data[size - 1 :]]) == crc32c([data])


def test_every_bit_counts() -> None:
    data = bytearray(noise()[:3000])
    whole = crc32c([bytes(data)])
    for at in range(0, 3000, 7):
        data[at] ^= 1 << at % 8
        assert crc32c([bytes(data)]) != whole
        data[at] ^= 1 << at % 8
