"""mount(2) and umount2(2), for those who mount what they hold open rather than what a path says."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
_OCTAL = re.compile(r"\\([0-7]{3})")


def check(result: int, what: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")


def mount(source: str, target: str, fstype: str, flags: int, data: str = "") -> None:
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags),
        data.encode(),
    )  # fmt: skip
    check(result, f"mount {source} on {target}")


def bind(descriptor: int, target: Path) -> None:
    """Mount what is held open: the kernel takes the file itself, no path is resolved again."""
    mount(f"/proc/self/fd/{descriptor}", str(target), "none", MS_BIND)


def tmpfs(target: Path, options: str) -> None:
    """Without swap where the kernel can promise that (6.4): what lies there may be a secret."""
    try:
        mount("tmpfs", str(target), "tmpfs", 0, f"{options},noswap")
    except OSError:
        mount("tmpfs", str(target), "tmpfs", 0, options)


def unmount(target: str) -> None:
    """Detach whatever is mounted at `target`; nothing mounted or no such path is fine."""
    while _libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW) == 0:
        pass


def below(directory: Path) -> list[Path]:
    """Mount points under the directory, innermost first."""
    prefix = f"{directory}/"
    points = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), line.split()[4])
        if point.startswith(prefix):
            points.append(Path(point))
    points.reverse()  # later ones may cover earlier ones
    return sorted(points, key=lambda p: len(p.parts), reverse=True)


def is_mount(path: Path) -> bool:
    """Whether another file system is mounted at `path` (a bind of the same one does not show)."""
    try:
        return path.lstat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False
