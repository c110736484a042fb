"""Writes a volume's files so that a reader sees the old set or the new set, never a mix.

Upstream's `volume/util/atomic_writer.go`: the files live in a `..<time>` directory, `..data`
is a symlink to it that is swapped by rename, and each visible name is a symlink through
`..data`. A container that bind-mounts the volume therefore follows updates.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from worker.kubelet.payload import File

DATA = "..data"


def write(target: Path, files: Mapping[str, File], group: int | None = None) -> bool:
    """Make `target` show exactly `files`. False when it did so already."""
    target.mkdir(parents=True, exist_ok=True)
    old = _current(target)
    if old is not None and _same(old, files):
        _link_names(target, files)
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=target))
    fresh.chmod(0o755)
    for name, file in files.items():
        _write_file(fresh / name, file, group)
    _swap(target, fresh)
    _link_names(target, files)
    _drop_names(target, files)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _current(target: Path) -> Path | None:
    link = target / DATA
    if not link.is_symlink():
        return None
    found = target / link.readlink()
    return found if found.is_dir() else None


def _same(directory: Path, files: Mapping[str, File]) -> bool:
    there = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    return there == set(files) and all(
        (directory / name).read_bytes() == file.content
        and (directory / name).stat().st_mode & 0o777 == file.mode
        for name, file in files.items()
    )


def _write_file(path: Path, file: File, group: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    path.chmod(file.mode)
    if group is not None:
        os.chown(path, -1, group)
        # Group members may read what the owner may (fsGroup of a read-only volume).
        path.chmod(file.mode | 0o440)


def _swap(target: Path, fresh: Path) -> None:
    link = target / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.rename(target / DATA)


def _link_names(target: Path, files: Mapping[str, File]) -> None:
    for first in {PurePosixPath(name).parts[0] for name in files}:
        link = target / first
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{first}")


def _drop_names(target: Path, files: Mapping[str, File]) -> None:
    wanted = {PurePosixPath(name).parts[0] for name in files}
    for link in target.iterdir():
        if not link.name.startswith("..") and link.name not in wanted:
            link.unlink()
