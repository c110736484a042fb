"""A disk for one member that can be filled, and a throttle that makes a member's disk slow."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_BLKIO = Path("/sys/fs/cgroup/blkio")


class SmallDisk:
    """A tmpfs at `path`. Ballast fills it to the last byte."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        path.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", PREFIX, str(path)], check=True
        )

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab") as file:
            while (free := os.statvfs(self.path)).f_bavail:
                try:
                    file.write(bytes(free.f_bavail * free.f_frsize))
                    file.flush()
                except OSError:
                    continue  # somebody else took a part meanwhile

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        subprocess.run(["umount", str(self.path)], check=False)


PREFIX = "robust"


class Throttle:
    """So many writes a second of one process, by the kernel's blkio controller (cgroup v1).

    It holds for what a process syncs itself, as a write-ahead log does: whatever the program is.
    """

    def __init__(self, name: str, path: Path) -> None:
        self._group = _BLKIO / name
        device = path.stat().st_dev
        self._device = f"{os.major(device)}:{os.minor(device)}"

    @staticmethod
    def possible() -> bool:
        return (_BLKIO / "blkio.throttle.write_iops_device").exists()

    def slow(self, pid: int, writes_per_second: int) -> None:
        self._group.mkdir(exist_ok=True)
        (self._group / "cgroup.procs").write_text(str(pid))
        limit = self._group / "blkio.throttle.write_iops_device"
        limit.write_text(f"{self._device} {writes_per_second}")

    def remove(self) -> None:
        if self._group.exists():
            limit = self._group / "blkio.throttle.write_iops_device"
            limit.write_text(f"{self._device} 0")
            for pid in (self._group / "cgroup.procs").read_text().split():
                (_BLKIO / "cgroup.procs").write_text(pid)
            self._group.rmdir()
