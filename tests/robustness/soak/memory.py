"""How much memory processes hold, and whether it only ever grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

_PARTS = 4
LEAST_SAMPLES = 30 * _PARTS
_NOISE = 1.05  # what an allocator makes of a steady state
_NOISE_BYTES = 4 << 20


def resident_bytes(pid: int) -> int | None:
    """None: there is no such process any more."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    line = next((one for one in status.splitlines() if one.startswith("VmRSS:")), None)
    return int(line.split()[1]) << 10 if line is not None else None


def grows(samples: Sequence[int]) -> bool:
    """Whether it is a leak: after the first quarter each quarter's floor is above that of the one
    before, and the last one's above nearly all that the second quarter held. What comes and goes
    (a slow watcher's backlog) raises no floor so far. False of few samples."""
    if len(samples) < LEAST_SAMPLES:
        return False
    size = len(samples) // _PARTS
    second, third, last = (
        quantiles(samples[-(back + 1) * size : len(samples) - back * size], n=4)
        for back in (2, 1, 0)
    )
    return second[0] < third[0] < last[0] and last[0] > second[-1] * _NOISE + _NOISE_BYTES
