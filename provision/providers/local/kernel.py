"""The system calls of a machine's launch that Python 3.11's `os` does not have.

Imported by the launcher, which starts once per machine: standard library only, and little of it.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SHARED = 0x100000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24

# No libc wraps pivot_root(2), and its number differs between architectures.
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def join_namespace(path: str, kind: int) -> None:
    """setns(2) into the namespace that is pinned at `path`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), f"setns {path}")
    finally:
        os.close(descriptor)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _checked(result, f"mount {kind or source} on {target}")


def bind(source: str, target: str) -> None:
    mount(source, target, flags=MS_BIND | MS_REC)


def make_read_only(target: str) -> None:
    """Only this mount, not its file system, so that others of the same one stay writable."""
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | safe)


def detach(target: str) -> None:
    _checked(_libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def unmount(target: str) -> None:
    _checked(_libc.umount2(target.encode(), ctypes.c_int(0)), f"umount {target}")


def pivot_here() -> None:
    """Make the working directory the root, and let go of the old root and all its mounts.

    pivot_root(2), "pivot_root(".", ".")": the old root ends up stacked on the new one, from
    where one lazy unmount takes it away.
    """
    machine = os.uname().machine
    if machine not in _PIVOT_ROOT:
        raise OSError(0, f"pivot_root: unknown architecture {machine}")
    call = ctypes.c_long(_PIVOT_ROOT[machine])
    _checked(_libc.syscall(call, b".", b"."), "pivot_root")
    detach(".")


def die_with_parent(signal_number: int) -> None:
    """Send this process a signal when its parent dies: no launcher outlives a killed command."""
    _checked(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number), 0, 0, 0), "prctl")


def drop_capability(number: int) -> None:
    """Take a capability out of the bounding set, for this process and all that it will start."""
    _checked(_libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0), "prctl")
