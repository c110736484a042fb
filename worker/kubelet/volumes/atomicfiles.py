"""Writes a volume's files so that a reader sees the old set or the new set, never a mix.

Upstream's `volume/util/atomic_writer.go`: the files live in a `..<time>` directory, `..data`
is a symlink to it that is swapped by rename, and each visible name is a symlink through
`..data`. A container that bind-mounts the volume therefore follows updates.

A privileged container can remount its volumes writable. So what lies in the volume is never
believed: everything here goes through descriptors that begin at the volume's own, follows no link,
and takes of `..data` only the name of a directory beside it.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath

from kube.files import beneath, trees
from worker.kubelet.volumes.payload import File

DATA, _SCRATCH = "..data", "..data_tmp"
_VERSION = re.compile(r"\.\.[A-Za-z0-9_][A-Za-z0-9_.]*")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(volume: int, files: Mapping[str, File], group: int | None = None) -> bool:
    """Make the directory `volume` show exactly `files`. False when it did so already. Blocks."""
    current = _current(volume)
    changed = current is None or not _shows(volume, current, files, group)
    if changed:
        current = _write_version(volume, files, group)
        _swap(volume, current)
    _link_names(volume, files)
    _drop_others(volume, files, current or "")
    return changed


def _current(volume: int) -> str | None:
    """The directory that `..data` names, if it is one of ours."""
    try:
        name = os.readlink(DATA, dir_fd=volume)
        if not _VERSION.fullmatch(name) or name in (DATA, _SCRATCH):
            return None
        os.close(os.open(name, _DIRECTORY, dir_fd=volume))
    except OSError:
        return None
    return name


def _shows(volume: int, version: str, files: Mapping[str, File], group: int | None) -> bool:
    directory = os.open(version, _DIRECTORY, dir_fd=volume)
    try:
        if _count_files(directory, len(files)) != len(files):
            return False
        return all(_is(directory, name, file, group) for name, file in files.items())
    except OSError:
        return False
    finally:
        os.close(directory)


def _count_files(directory: int, most: int) -> int:
    """How many entries there are that are no directories; counting ends beyond `most`."""
    number = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                number += 1
            else:
                inner = os.open(entry.name, _DIRECTORY, dir_fd=directory)
                try:
                    number += _count_files(inner, most - number)
                finally:
                    os.close(inner)
            if number > most:
                break
    return number


def _is(directory: int, name: str, file: File, group: int | None) -> bool:
    fd = beneath.regular(directory, name)
    try:
        found = os.fstat(fd)
        if stat.S_IMODE(found.st_mode) != _mode(file, group) or group not in (None, found.st_gid):
            return False
        return beneath.read_head(fd, len(file.content) + 1) == file.content
    finally:
        os.close(fd)


def _mode(file: File, group: int | None) -> int:
    """Group members may read what the owner may (fsGroup of a read-only volume)."""
    return file.mode if group is None else file.mode | 0o440


def _write_version(volume: int, files: Mapping[str, File], group: int | None) -> str:
    version = time.strftime("..%Y_%m_%d_%H_%M_%S.") + secrets.token_hex(5)
    directory = _make_directory(volume, version)
    try:
        for name, file in files.items():
            _write_file(directory, PurePosixPath(name), file, group)
    finally:
        os.close(directory)
    return version


def _make_directory(parent: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    os.fchmod(fd, 0o755)
    return fd


def _write_file(top: int, path: PurePosixPath, file: File, group: int | None) -> None:
    at = os.dup(top)
    try:
        for part in path.parts[:-1]:
            inner = _make_directory(at, part)
            os.close(at)
            at = inner
        fd = os.open(path.name, _NEW_FILE, 0o600, dir_fd=at)
    finally:
        os.close(at)
    with os.fdopen(fd, "wb") as out:
        out.write(file.content)
        if group is not None:
            os.fchown(fd, -1, group)
        os.fchmod(fd, _mode(file, group))


def _swap(volume: int, version: str) -> None:
    _remove(volume, _SCRATCH)
    os.symlink(version, _SCRATCH, dir_fd=volume)
    try:
        os.rename(_SCRATCH, DATA, src_dir_fd=volume, dst_dir_fd=volume)
    except (IsADirectoryError, NotADirectoryError):
        _remove(volume, DATA)  # somebody's directory where only our link belongs
        os.rename(_SCRATCH, DATA, src_dir_fd=volume, dst_dir_fd=volume)


def _firsts(files: Mapping[str, File]) -> set[str]:
    return {PurePosixPath(name).parts[0] for name in files}


def _link_names(volume: int, files: Mapping[str, File]) -> None:
    for first in _firsts(files):
        wanted = f"{DATA}/{first}"
        with suppress(OSError):
            if os.readlink(first, dir_fd=volume) == wanted:
                continue
        _remove(volume, first)
        os.symlink(wanted, first, dir_fd=volume)


def _drop_others(volume: int, files: Mapping[str, File], version: str) -> None:
    """Names that are no more, and versions that nobody shows, also what a crash left of them."""
    wanted = _firsts(files) | {DATA, version}
    for name in os.listdir(volume):
        if name not in wanted:
            _remove(volume, name)


def _remove(volume: int, name: str) -> None:
    while not trees.remove_some(volume, name):
        pass
