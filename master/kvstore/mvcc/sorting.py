"""Sorting a million names in a thread without holding up the event loop.

`sorted` keeps the interpreter lock until it is done: most of a second for a million names, an
election for a follower that takes in a snapshot.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from itertools import islice

_SLICE = 10_000  # names sorted at a time: some milliseconds
_SAMPLES = 16  # looked at for each slice, so that the slices come out about equal


def sorted_gently(names: Collection[bytes]) -> list[bytes]:
    slices = len(names) // _SLICE
    if slices < 2:
        return sorted(names)
    step = _SLICE // _SAMPLES
    bounds = sorted(islice(names, 0, None, step))[_SAMPLES::_SAMPLES]
    parts: list[list[bytes]] = [[] for _ in range(len(bounds) + 1)]
    for name in names:
        parts[bisect_right(bounds, name)].append(name)
    out: list[bytes] = []
    for part in parts:
        part.sort()
        out += part
    return out
