"""The directories of containers' logs, and what may lie there.

A container with a hostPath volume may own them. The directory that the pod's lies in is the node's;
from there on no link is followed, and conmon is not started on a log that is anything but a file.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from kube.files import beneath


def make_directory(directory: Path) -> None:
    """A pod's."""
    directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with beneath.directory(directory.parent) as root:
        os.close(beneath.make_plainly(root, directory.name))


def prepare(log: Path, root: Path) -> None:
    """A container's, below the directory `root`."""
    with beneath.directory(root) as handle:
        directory = beneath.make_plainly(handle, str(log.parent.relative_to(root)))
    try:
        found = os.stat(log.name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "the log is not a regular file", str(log))
    except FileNotFoundError:
        return
    finally:
        os.close(directory)
