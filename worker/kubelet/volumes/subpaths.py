"""subPath and subPathExpr: a place inside a volume, mounted by descriptor.

A container that shares the volume may exchange a directory for a link between any two steps of
ours. So the place is found once, as a descriptor that cannot lead out of the volume, and what the
descriptor stands for is bind-mounted to a directory of the kubelet's own,

    <pod>/volume-subpaths/<volume>/<container>/<index of the mount>

whose path goes to the runtime: no container can reach it, and any runtime takes a path. Upstream's
`volume/util/subpath` does the same. Everything here blocks.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from kube.files import beneath, mounts, trees

_DIRECTORY = "volume-subpaths"


def mount_point(pod: Path, volume: str, container: str, index: int) -> Path:
    return pod / _DIRECTORY / volume / container / str(index)


def prepare(volume: Path, sub_path: str, target: Path, *, absolute_links: bool) -> None:
    """Find or make `sub_path` in `volume`, and mount it at `target`. OSError where it leads out.

    With `absolute_links`, links may be absolute if they lead back into the volume: an
    administrator's own directory (hostPath) may have such, a container's can only lie.
    """
    root = os.open(volume, os.O_PATH | os.O_CLOEXEC)
    try:
        place = _find(root, volume, sub_path, absolute_links)
        try:
            _mount(place, target)
        finally:
            os.close(place)
    finally:
        os.close(root)


def _find(root: int, volume: Path, sub_path: str, absolute_links: bool) -> int:
    if sub_path.startswith("/") or ".." in sub_path.split("/"):
        raise OSError(errno.EXDEV, "subPath must not be absolute or contain '..'", sub_path)
    try:
        return beneath.locate(root, sub_path, links=True)
    except FileNotFoundError:
        # A container of any user must be able to use it as it could use the volume itself.
        return beneath.make_directories(root, sub_path, os.fstat(root))
    except OSError as error:
        if error.errno != errno.EXDEV or not absolute_links:
            raise
    base = os.path.realpath(volume)
    real = os.path.relpath(os.path.realpath(f"{base}/{sub_path}"), base)
    return beneath.locate(root, real)  # what changed since then is a link, and none is followed


def _mount(place: int, target: Path) -> None:
    wanted = os.fstat(place)
    if _is_mounted(target):
        there = target.lstat()
        if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino):
            return  # the container starts again
        mounts.unmount(str(target))
    trees.remove(target)
    target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    if stat.S_ISDIR(wanted.st_mode):
        target.mkdir(mode=0o750)
    else:
        target.touch(mode=0o640)
    mounts.bind(place, target)


def _is_mounted(target: Path) -> bool:
    """By the mount's id: a bind mount of the same file system shows in nothing else."""
    try:
        with beneath.directory(target.parent) as parent:
            handle = beneath.locate(parent, target.name)
            try:
                return beneath.mount_id(handle) != beneath.mount_id(parent)
            finally:
                os.close(handle)
    except FileNotFoundError:
        return False
