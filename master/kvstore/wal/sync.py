"""Making files durable, and noting for a test how much of each is.

A machine that loses power keeps what was synced; kill -9 alone loses nothing, for the kernel
still writes. With MUSTER_DURABLE_NOTES=DIRECTORY every sync leaves the length that it covered in
a file there, named by the inode. Whoever kills the member can then cut its files to what a power
loss must leave (`tests/robustness/powerloss.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "MUSTER_DURABLE_NOTES"
_NOTES = os.environ.get(VARIABLE, "")


def fdatasync(descriptor: int) -> None:
    os.fdatasync(descriptor)
    _note(descriptor)


def fsync(descriptor: int) -> None:
    os.fsync(descriptor)
    _note(descriptor)


def sync_directory(directory: Path) -> None:
    """Make creations and renames in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _note(descriptor: int) -> None:
    if _NOTES:
        file = os.fstat(descriptor)
        scratch = Path(_NOTES, f"{file.st_ino}.tmp")
        scratch.write_text(str(file.st_size))
        scratch.rename(scratch.with_suffix(""))
