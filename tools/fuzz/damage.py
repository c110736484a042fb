"""Ways to break bytes and sequences. Chance is handed in, so that a seed replays."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_MEMORY = Path("/dev/shm")  # a million fsyncs on a disk would take days
_NASTY = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff" * 4, b"\x7f" + b"\xff" * 7)


def damaged(rng: random.Random, data: bytes, foreign: bytes = b"") -> bytes:
    """`data` with one to three wounds. May by chance be what it was."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _wound(rng, out, foreign)
    return bytes(out)


def _wound(rng: random.Random, out: bytearray, foreign: bytes) -> None:
    size = len(out)
    at = rng.randrange(size + 1)
    span = min(rng.choice((1, 2, 4, 8, 40, 300)), size - at)
    match rng.randrange(10):
        case 0 | 1 | 2 if at < size:
            out[at] ^= 1 << rng.randrange(8)
        case 3:
            del out[at:]
        case 4:
            del out[at : at + span]
        case 5:
            out[at:at] = rng.randbytes(rng.choice((1, 4, 30)))
        case 6:  # the same again
            out[at:at] = out[at : at + span]
        case 7:  # a lie about a length, among others
            lie = rng.choice(_NASTY)
            out[at : at + len(lie)] = lie
        case 8 if size:  # moved
            piece = bytes(out[at : at + span])
            del out[at : at + span]
            to = rng.randrange(len(out) + 1)
            out[to:to] = piece
        case _:  # a splice
            source = foreign or bytes(out)
            start = rng.randrange(len(source) + 1)
            out[at : at + span] = source[start : start + rng.choice((1, 8, 100))]


def shuffled(rng: random.Random, items: Sequence[_T], foreign: Sequence[_T] = ()) -> list[_T]:
    """Whole items lost, repeated, swapped, or taken from somewhere else."""
    out = list(items)
    for _ in range(rng.choice((1, 1, 2))):
        if not out:
            break
        at, other = rng.randrange(len(out)), rng.randrange(len(out))
        match rng.randrange(4):
            case 0:
                del out[at]
            case 1:
                out.insert(other, out[at])
            case 2:
                out[at], out[other] = out[other], out[at]
            case _:
                out[at] = rng.choice(foreign or out)
    return out


@contextmanager
def in_memory() -> Iterator[Path]:
    """A directory for files that need not outlive the block."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        yield Path(scratch)
