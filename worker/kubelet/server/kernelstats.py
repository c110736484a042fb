"""Counters that CRI stats lack and dashboards read: throttling, page cache, disk, packets.

Read where cAdvisor reads them: the container's cgroup (v1 or v2), and /proc/PID/net/dev of a
process of the pod. Both runtimes put a container at `<pod cgroup>/<container id>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What a container has read and written on one device."""

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ContainerCounters:
    periods: int = 0
    throttled_periods: int = 0
    throttled_seconds: float = 0.0
    cache_bytes: int = 0
    disks: Mapping[str, DiskUse] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """One line of /proc/PID/net/dev, as far as cAdvisor reports it."""

    name: str
    received_bytes: int
    received_packets: int
    received_errors: int
    received_dropped: int
    sent_bytes: int
    sent_packets: int
    sent_errors: int
    sent_dropped: int


def flat(text: str) -> dict[str, int]:
    """`name value` lines, as in cpu.stat and memory.stat."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def parse_blkio(services: str, operations: str, devices: Mapping[str, str]) -> dict[str, DiskUse]:
    """v1: `8:0 Read 4096` lines of blkio.throttle.io_service_bytes and io_serviced."""
    found: dict[str, dict[str, int]] = {}
    for text, kinds in (
        (services, {"Read": "read_bytes", "Write": "written_bytes"}),
        (operations, {"Read": "reads", "Write": "writes"}),
    ):
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in kinds and words[0] in devices:
                found.setdefault(devices[words[0]], {})[kinds[words[1]]] = int(words[2])
    return {name: DiskUse(**values) for name, values in found.items()}


_IO_FIELDS = {"rios": "reads", "rbytes": "read_bytes", "wios": "writes", "wbytes": "written_bytes"}


def parse_io_stat(text: str, devices: Mapping[str, str]) -> dict[str, DiskUse]:
    """v2: `8:0 rbytes=4096 wbytes=0 rios=1 ...` lines of io.stat."""
    found = {}
    for line in text.splitlines():
        number, *words = line.split()
        pairs = (word.partition("=") for word in words)
        values = {_IO_FIELDS[key]: int(value) for key, _, value in pairs if key in _IO_FIELDS}
        if number in devices:
            found[devices[number]] = DiskUse(**values)
    return found


_INTERFACE = re.compile(r"\s*([^:\s]+):\s*(.*)")


def parse_net_dev(text: str) -> list[InterfaceCounters]:
    """/proc/PID/net/dev without the loopback."""
    found = []
    for line in text.splitlines():
        match = _INTERFACE.match(line)
        if match is None or match[1] == "lo":
            continue
        numbers = [int(word) for word in match[2].split()]
        # Four of the eight columns of each direction: bytes, packets, errs, drop.
        found.append(InterfaceCounters(match[1], *numbers[0:4], *numbers[8:12]))
    return found


class KernelStats:
    """Reads the counters of containers and pods. What is gone reads as zero."""

    def __init__(self, mount: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> None:
        self._mount, self._proc = mount, proc
        self._v2 = (mount / "cgroup.controllers").exists()

    def container(self, parent: str, container_id: str) -> ContainerCounters:
        path = f"{parent.strip('/')}/{container_id}"
        cpu = flat(self._read("cpu", path, "cpu.stat"))
        memory = flat(self._read("memory", path, "memory.stat"))
        nanos = cpu.get("throttled_time", 0) + 1000 * cpu.get("throttled_usec", 0)
        return ContainerCounters(
            periods=cpu.get("nr_periods", 0),
            throttled_periods=cpu.get("nr_throttled", 0),
            throttled_seconds=nanos / 1e9,
            cache_bytes=memory.get("total_cache", memory.get("file", 0)),
            disks=self._disks(path),
        )

    def _disks(self, path: str) -> dict[str, DiskUse]:
        devices = self._devices()
        if self._v2:
            return parse_io_stat(self._read("", path, "io.stat"), devices)
        return parse_blkio(
            self._read("blkio", path, "blkio.throttle.io_service_bytes"),
            self._read("blkio", path, "blkio.throttle.io_serviced"),
            devices,
        )

    def _devices(self) -> dict[str, str]:
        """`253:0` -> `/dev/vda`."""
        rows = (line.split() for line in _text(self._proc / "diskstats").splitlines())
        return {f"{row[0]}:{row[1]}": f"/dev/{row[2]}" for row in rows if len(row) > 2}

    def interfaces(self, parent: str, container_ids: Iterable[str]) -> list[InterfaceCounters]:
        """The pod's network interfaces, seen by any process of its containers."""
        for container_id in container_ids:
            path = f"{parent.strip('/')}/{container_id}"
            for pid in self._read("memory", path, "cgroup.procs").split()[:1]:
                if text := _text(self._proc / pid / "net" / "dev"):
                    return parse_net_dev(text)
        return []

    def _read(self, controller: str, path: str, file: str) -> str:
        base = self._mount if self._v2 else self._mount / controller
        return _text(base / path / file)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
