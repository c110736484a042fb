"""Removes directory trees that somebody hostile has built: deep, wide, or being moved meanwhile.

Neither the depth of the tree nor its width costs memory, descriptors or stack: a directory that is
not empty is moved up to the top of the tree, where its turn comes. No link is followed and no mount
entered. The work can be cut into slices (`remove_some`), so that one tree of millions of files does
not keep the others waiting.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from kube.files.beneath import directory, locate

# What one slice removes: some tenths of a second.
SLICE = 10_000


def remove(path: Path) -> None:
    """Remove a whole tree; one that is (partly) gone is fine. Blocks for as long as it takes."""
    try:
        with directory(path.parent) as parent:
            while not remove_some(parent, path.name):
                pass
    except FileNotFoundError:
        return


def remove_some(parent: int, name: str, budget: int = SLICE) -> bool:
    """Remove about `budget` entries of the tree `name`; True when nothing of it is left."""
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.unlink(name, dir_fd=parent)
            return True
        top = _enter(parent, name)
    except FileNotFoundError:
        return True
    try:
        slice_ = _Slice(top, budget)
        while slice_.left > 0 and slice_.empty(top):
            pass
        if slice_.left <= 0:
            return False
    finally:
        os.close(top)
    with suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)
    return True


def _enter(parent: int, name: str) -> int:
    handle = locate(parent, name, mounts=False)
    try:
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)


class _Slice:
    def __init__(self, top: int, budget: int) -> None:
        self._top = top
        self.left = budget

    def empty(self, where: int) -> bool:
        """Go once over a directory; True when there was something in it."""
        found = False
        with os.scandir(where) as entries:
            for entry in entries:
                found = True
                if self.left <= 0:
                    break
                self.left -= 1
                with suppress(FileNotFoundError):
                    self._drop(where, entry)
        return found

    def _drop(self, where: int, entry: os.DirEntry[str]) -> None:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=where)
            return
        try:
            os.rmdir(entry.name, dir_fd=where)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if where == self._top:
                self._descend(entry.name)
            else:
                self._lift(where, entry)

    def _descend(self, name: str) -> None:
        inner = _enter(self._top, name)
        try:
            while self.left > 0 and self.empty(inner):
                pass
        finally:
            os.close(inner)
        if self.left > 0:
            os.rmdir(name, dir_fd=self._top)

    def _lift(self, where: int, entry: os.DirEntry[str]) -> None:
        """Move a directory to the top, under a name that nothing there has."""
        number = entry.inode()
        while True:
            try:
                name = f"..lifted-{number}"
                os.rename(entry.name, name, src_dir_fd=where, dst_dir_fd=self._top)
                return
            except OSError as error:
                taken = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
                if error.errno not in taken:
                    raise
                number += 1
