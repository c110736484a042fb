"""The system calls of a machine's launch that Python 3.11's `os` does not have.

Imported by the launcher, which starts once per machine: standard library only, and little of it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
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

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 0x1
_CLOEXEC = 0o2000000
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_NOEXEC = 0x2, 0x4, 0x8
_MOUNT_ATTR_IDMAP = 0x00100000
_FSCONFIG_CMD_CREATE = 6
_NS_GET_USERNS = 0xB701

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24

# No libc wraps pivot_root(2), and its number differs between architectures.
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
# Newer calls have the same number everywhere.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(what: str, number: int, *arguments: int | bytes | _MountAttr | None) -> int:
    """A system call that no libc of Debian 12 wraps."""
    _libc.syscall.restype = ctypes.c_long
    converted = [
        ctypes.c_long(a)
        if isinstance(a, int)
        else ctypes.byref(a)
        if isinstance(a, _MountAttr)
        else ctypes.c_char_p(a)
        for a in arguments
    ]
    return _checked(_libc.syscall(ctypes.c_long(number), *converted), what)


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


def cloned(source: str) -> int:
    """A mount of what is at `source`, attached nowhere yet (open_tree(2)): its descriptor."""
    flags = _OPEN_TREE_CLONE | _CLOEXEC
    return _call(f"open_tree {source}", _OPEN_TREE, _AT_FDCWD, source.encode(), flags)


def made(kind: str) -> int:
    """A new mount of a kernel file system, attached nowhere yet, for `attach`: its descriptor."""
    context = _call(f"fsopen {kind}", _FSOPEN, kind.encode(), 1)
    try:
        _call(f"make {kind}", _FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        flags = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOEXEC
        return _call(f"fsmount {kind}", _FSMOUNT, context, 1, flags)
    finally:
        os.close(context)


def attach(mount: int, target: str) -> None:
    """Put a mount of `cloned` or `made` at `target`, and close its descriptor."""
    try:
        flags = _MOVE_MOUNT_F_EMPTY_PATH
        _call(f"mount on {target}", _MOVE_MOUNT, mount, b"", _AT_FDCWD, target.encode(), flags)
    finally:
        os.close(mount)


def shift_owners(mount: int, user_namespace: int) -> None:
    """Let the files of a `cloned` mount belong to `user_namespace`: 0 on disk is its root.

    Fails where the file system has no such mounts (mount_setattr(2), MOUNT_ATTR_IDMAP).
    """
    attributes = _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=user_namespace)
    size = ctypes.sizeof(attributes)
    what = "shift the owners of files"
    _call(what, _MOUNT_SETATTR, mount, b"", _AT_EMPTY_PATH, attributes, size)


def user_namespace_of(namespace: str) -> int:
    """A descriptor of the user namespace that owns the one pinned at `namespace`."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(descriptor, _NS_GET_USERNS)
    finally:
        os.close(descriptor)


def join_user_namespace(descriptor: int) -> None:
    """setns(2), and be its root: whoever comes from outside has no identity in it yet."""
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(CLONE_NEWUSER)), "setns user")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


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
