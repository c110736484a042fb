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
    before, and the last one clearly above the second. What comes and goes (a slow watcher's
    backlog) raises no floor. False of few samples."""
    if len(samples) < LEAST_SAMPLES:
        return False
    size = len(samples) // _PARTS
    second, third, last = (
        _floor(samples[-(back + 1) * size : len(samples) - back * size]) for back in (2, 1, 0)
    )
    return second < third < last and last > second * _NOISE + _NOISE_BYTES


def _floor(samples: Sequence[int]) -> float:
    return quantiles(samples, n=4)[0]
