"""Finds and opens files below a directory that is held open, whatever somebody does meanwhile.

`locate` gives a descriptor that stands for the file itself (O_PATH): nothing is opened yet, so no
FIFO waits, no device notices, and what was found cannot be exchanged any more. It is openat2(2)
where the kernel has it (5.6), else the same walk in steps of openat(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_OPENAT2 = 437  # the same number on every architecture
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _IN_ROOT = 0x01, 0x02, 0x04, 0x08, 0x10
_NOT_THERE = (errno.ENOSYS, errno.EPERM, errno.E2BIG)  # an old kernel, or a filter that hides it
# openat2 answers EAGAIN when a directory was moved while it looked at "..".
_TRIES = 64
_MAX_LINKS = 40  # the kernel's own limit
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def locate(root: int, path: str, *, links: bool = False, mounts: bool = True) -> int:
    """A descriptor (O_PATH) of `path` below the directory `root`.

    With `links`, symbolic links are followed as long as they stay inside; a last one too. Without
    `mounts`, nothing that is mounted below `root` is entered. OSError: ENOENT, EXDEV for what
    leads outside, ELOOP or ENOTDIR for a link that is not followed.
    """
    clean = "/".join(p for p in path.split("/") if p not in ("", ".")) or "."
    if path.startswith("/") or "\0" in path:
        raise OSError(errno.EXDEV, "not a path inside of its root", path)
    resolve = _BENEATH | _NO_MAGICLINKS | (0 if links else _NO_SYMLINKS)
    try:
        return _openat2(root, clean, resolve | (0 if mounts else _NO_XDEV))
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    return walk(root, clean, links=links, mounts=mounts)


def locate_in_root(root: int, path: str) -> int:
    """As `locate` with links, but for `root` as the root of a file system: absolute links and ".."
    stay inside, as they would for a process that has it for its root."""
    try:
        return _openat2(root, path, _IN_ROOT | _NO_MAGICLINKS)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    return walk(root, path, links=True, as_root=True)


def _openat2(root: int, path: str, resolve: int) -> int:
    how = _How(os.O_PATH | os.O_CLOEXEC, 0, resolve)
    name = os.fsencode(path)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    for _ in range(_TRIES):
        fd = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(root), name, ctypes.byref(how), size
        )
        if fd >= 0:
            return int(fd)
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code), path)
    raise OSError(errno.ELOOP, "its directories do not stop moving", path)


def walk(root: int, path: str, *, links: bool, mounts: bool = True, as_root: bool = False) -> int:
    """What `locate` does where openat2 is missing: one component, one descriptor."""
    held = [os.dup(root)]  # from the root down to where we are
    pending = _parts(path)[::-1]
    followed = 0
    try:
        while pending:
            part = pending.pop()
            if part == "..":
                _climb(held, path, as_root)
                continue
            found = os.open(part, _HANDLE, dir_fd=held[-1])
            held.append(found)
            if stat.S_ISLNK(os.fstat(found).st_mode):
                followed += 1
                if not links or followed > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink("", dir_fd=found)
                os.close(held.pop())
                if target.startswith("/"):
                    if not as_root:
                        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
                    _close(held[1:])
                    del held[1:]
                pending += _parts(target)[::-1]
            elif not mounts and mount_id(found) != mount_id(root):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        return held.pop()
    finally:
        _close(held)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _climb(held: list[int], path: str, as_root: bool) -> None:
    if len(held) > 1:
        os.close(held.pop())
    elif not as_root:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def mount_id(fd: int) -> str:
    text = Path(f"/proc/self/fdinfo/{fd}").read_text()
    return next(line.split()[1] for line in text.splitlines() if line.startswith("mnt_id:"))


@contextmanager
def directory(path: Path, *, beneath: int | None = None) -> Iterator[int]:
    """A directory held for the block. From `beneath` no link is followed; else it is trusted."""
    if beneath is None:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        fd = locate(beneath, str(path))
    try:
        yield fd
    finally:
        os.close(fd)


def reopen(handle: int, flags: int) -> int:
    """Open what the descriptor `handle` of `locate` stands for."""
    return os.open(f"/proc/self/fd/{handle}", flags | os.O_CLOEXEC)


def regular(root: int, path: str, *, links: bool = False) -> int:
    """A regular file opened for reading. OSError (EINVAL) for a FIFO, a device, a directory…

    O_NONBLOCK, since even a regular file may make its opener wait: its owner may hold a lease.
    """
    handle = locate(root, path, links=links)
    try:
        return _open_regular(handle, path)
    finally:
        os.close(handle)


def _open_regular(handle: int, path: str) -> int:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return reopen(handle, os.O_RDONLY | os.O_NONBLOCK)


def read_head(fd: int, limit: int) -> bytes:
    """The first `limit` bytes, also of a file that grows all the time."""
    return _read(fd, 0, limit)


def read_tail(fd: int, limit: int) -> bytes:
    """The last `limit` bytes that the file has now."""
    size = os.fstat(fd).st_size
    return _read(fd, max(size - limit, 0), min(limit, size))


def _read(fd: int, offset: int, limit: int) -> bytes:
    content = bytearray()
    while len(content) < limit:
        chunk = os.pread(fd, min(limit - len(content), 1 << 16), offset + len(content))
        if not chunk:
            break
        content += chunk
    return bytes(content)


def head_of(root: int, path: str, limit: int, *, links: bool = False) -> bytes:
    fd = regular(root, path, links=links)
    try:
        return read_head(fd, limit)
    finally:
        os.close(fd)


def head_of_handle(handle: int, limit: int) -> bytes:
    fd = _open_regular(handle, "")
    try:
        return read_head(fd, limit)
    finally:
        os.close(fd)


def tail_of(root: int, path: str, limit: int) -> bytes:
    fd = regular(root, path)
    try:
        return read_tail(fd, limit)
    finally:
        os.close(fd)


def absolute_tail(path: Path, limit: int) -> bytes:
    """The end of a file of which no component may be a link: nothing below "/" is trusted."""
    with directory(Path("/")) as root:
        return tail_of(root, str(path).lstrip("/"), limit)


def make_directories(root: int, path: str, like: os.stat_result) -> int:
    """A descriptor (O_PATH) of `path`, made where it is missing with the mode and owner of `like`.

    What is there may be reached through links inside of `root`; from the first missing directory
    on there are none.
    """
    parts = _parts(path)
    if ".." in parts:
        raise OSError(errno.EXDEV, "not a path inside of its root", path)
    at, there = os.dup(root), 0
    try:
        while there < len(parts):
            try:
                found = locate(root, "/".join(parts[: there + 1]), links=True)
            except FileNotFoundError:
                break
            os.close(at)
            at, there = found, there + 1
        for part in parts[there:]:
            made = _make_directory(at, part, like)
            os.close(at)
            at = made
        return at
    except BaseException:
        os.close(at)
        raise


def make_plainly(root: int, path: str, mode: int = 0o755) -> int:
    """A descriptor (O_PATH) of the directory `path`, made where it is missing. No link is followed,
    whoever put it there."""
    at = os.dup(root)
    for part in _parts(path):
        try:
            if part == "..":
                raise OSError(errno.EXDEV, "not a path inside of its root", path)
            with suppress(FileExistsError):
                os.mkdir(part, mode, dir_fd=at)
            inner = os.open(part, _HANDLE | os.O_DIRECTORY, dir_fd=at)
        finally:
            os.close(at)
        at = inner
    return at


def _make_directory(parent: int, name: str, like: os.stat_result) -> int:
    created = True
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        created = False
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    found = os.fstat(fd)
    # Only what is still as it was made is given away; somebody may have put his own there.
    if created and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o777 == 0o700:
        with suppress(PermissionError):
            os.fchown(fd, like.st_uid, like.st_gid)
        os.fchmod(fd, stat.S_IMODE(like.st_mode) & 0o2777)
    return fd
