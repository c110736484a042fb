"""Reads a container's cgroup, on v1 hierarchies or on the unified one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a cgroup has used. Bytes, and nanoseconds of CPU."""

    cpu_nanoseconds: int = 0
    memory_bytes: int = 0
    inactive_file_bytes: int = 0
    rss_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    memory_limit_bytes: int = 0
    processes: int = 0

    @property
    def working_set_bytes(self) -> int:
        """What the kernel could not take back easily: upstream's definition."""
        return max(0, self.memory_bytes - self.inactive_file_bytes)


class Cgroups:
    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self.v2 = (root / "cgroup.controllers").exists()

    def controllers(self) -> frozenset[str]:
        if self.v2:
            return frozenset((self._root / "cgroup.controllers").read_text().split())
        return frozenset(part for p in self._root.iterdir() for part in p.name.split(","))

    def accounts_swap(self) -> bool:
        if self.v2:
            return Path("/proc/swaps").exists()
        return (self._root / "memory" / "memory.memsw.limit_in_bytes").exists()

    def oom_kills(self, path: str) -> int | None:
        """How many processes the OOM killer took in this cgroup; None when it is gone."""
        file = "memory.events" if self.v2 else "memory.oom_control"
        text = self._read("memory", path, file)
        return keyed(text).get("oom_kill", 0) if text else None

    def usage(self, path: str) -> Usage | None:
        """None when the cgroup does not exist (any more)."""
        return self._usage_v2(path) if self.v2 else self._usage_v1(path)

    def remove(self, path: str) -> None:
        """Remove an empty cgroup in every hierarchy; one in use or gone stays as it is."""
        roots = [self._root] if self.v2 else list(self._root.iterdir())
        for root in roots:
            try:
                (root / path.lstrip("/")).rmdir()
            except OSError:
                continue

    def _usage_v1(self, path: str) -> Usage | None:
        current = self._read("memory", path, "memory.usage_in_bytes")
        if not current:
            return None
        stat = keyed(self._read("memory", path, "memory.stat"))
        return Usage(
            cpu_nanoseconds=number(self._read("cpuacct", path, "cpuacct.usage")),
            memory_bytes=number(current),
            inactive_file_bytes=stat.get("total_inactive_file", 0),
            rss_bytes=stat.get("total_rss", 0),
            page_faults=stat.get("total_pgfault", 0),
            major_page_faults=stat.get("total_pgmajfault", 0),
            memory_limit_bytes=limit(self._read("memory", path, "memory.limit_in_bytes")),
            processes=len(self._read("memory", path, "cgroup.procs").split()),
        )

    def _usage_v2(self, path: str) -> Usage | None:
        cpu = self._read("", path, "cpu.stat")
        if not cpu:
            return None
        stat = keyed(self._read("", path, "memory.stat"))
        return Usage(
            cpu_nanoseconds=keyed(cpu).get("usage_usec", 0) * 1000,
            memory_bytes=number(self._read("", path, "memory.current")),
            inactive_file_bytes=stat.get("inactive_file", 0),
            rss_bytes=stat.get("anon", 0),
            page_faults=stat.get("pgfault", 0),
            major_page_faults=stat.get("pgmajfault", 0),
            memory_limit_bytes=limit(self._read("", path, "memory.max")),
            processes=len(self._read("", path, "cgroup.procs").split()),
        )

    def _read(self, controller: str, path: str, file: str) -> str:
        hierarchy = self._root if self.v2 else self._root / controller
        try:
            return (hierarchy / path.lstrip("/") / file).read_text()
        except OSError:
            return ""


def keyed(text: str) -> dict[str, int]:
    """`key value` lines; others are skipped."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def limit(text: str) -> int:
    """0 stands for "no limit": `max`, or v1's page-rounded 2^63."""
    value = number(text)
    return 0 if value >= 1 << 62 else value
