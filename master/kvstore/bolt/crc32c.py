"""CRC-32C (Castagnoli), which Python's library lacks, fast without an extension.

A CRC is the remainder of the message as a polynomial over GF(2) (RFC 3720, appendix B.4). Python
has no product of such polynomials, but shifts and exclusive ors of long integers, at the memory's
speed. So the front of the message is folded onto what is behind it: x^d and its remainder r are
the same to the CRC, thus a piece at distance d is replaced by one shifted copy for each term of r.
Distances are powers of two, from half of a block down to a few bytes.

Bits are mirrored, as in all such CRCs: the first bit of a message is the lowest one of the integer
and stands for the highest power; shifting left divides by x.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_MIRRORED = 0x82F63B78  # x^0 to x^31 of the polynomial; the highest bit is x^0
_BLOCK_BITS = 1 << 19  # 64 KB stay in the processor's cache
_SMALLEST = 64  # bits; less is divided bit by bit
_Folds = tuple[tuple[int, tuple[int, ...]], ...]  # each distance d, and the powers that x^d leaves


def crc32c(pieces: Iterable[bytes]) -> int:
    """Of all pieces, one behind the other."""
    rest = 0xFFFFFFFF
    for block in _blocks(pieces):
        # The remainder so far lies on the first bits of what follows; 32 zeros end the message.
        message = int.from_bytes(block, "little") ^ rest
        rest = _remainder(message, 8 * len(block) + 32, _FOLDS)
    return rest ^ 0xFFFFFFFF


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, the last block with what is left."""
    size = _BLOCK_BITS // 8
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        while len(gathered) >= size:
            yield bytes(gathered[:size])
            del gathered[:size]
    yield bytes(gathered)


def _remainder(message: int, bits: int, folds: _Folds) -> int:
    for distance, powers in folds:
        # As much of the front as the copies of it do not touch.
        while bits > distance + 32:
            taken = min(bits - distance, distance - 32)
            front = message & ((1 << taken) - 1)
            message >>= taken
            bits -= taken
            back = distance - taken  # where the front is, from what is left
            for power in powers:
                message ^= front << (back - power)
    for _ in range(bits - 32):
        message = message >> 1 ^ (_MIRRORED if message & 1 else 0)
    return message


def _folds() -> _Folds:
    """The longest distance first. Each comes from those below it."""
    folds: _Folds = ()
    distance = _SMALLEST
    while distance < _BLOCK_BITS:
        left = _remainder(1, distance + 1, folds)
        folds = ((distance, tuple(31 - bit for bit in range(32) if left >> bit & 1)), *folds)
        distance *= 2
    return folds


_FOLDS = _folds()
