"""What the kernel says about processes: processor time and memory, descendants included."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    rss_mib: float
    pss_mib: float


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time so far, of those and all that they started."""
    return sum(_own_cpu(pid) for pid in _with_descendants(pids))


def memory(pids: Iterable[int]) -> Memory:
    rss = pss = 0
    for pid in _with_descendants(pids):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Rss":
                rss += int(rest.split()[0])
            elif name == "Pss":
                pss += int(rest.split()[0])
    return Memory(rss / 1024, pss / 1024)


def _with_descendants(pids: Iterable[int]) -> set[int]:
    found = set(pids)
    parents = _parents()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _parents() -> dict[int, int]:
    return {
        pid: int(fields[1])
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        if (fields := _stat(pid))
    }


def _own_cpu(pid: int) -> float:
    fields = _stat(pid)  # 11..14: utime, stime and the same of children that were waited for
    return sum(map(int, fields[11:15])) / _TICKS if fields else 0.0


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on (proc(5): field 3); empty if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
