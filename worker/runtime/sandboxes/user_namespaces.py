"""User namespaces for pods (`hostUsers: false`): root of such a pod is nobody on the node.

The pod's other namespaces are made by the user namespace, so that its root may administer them and
nothing else. Files stay owned on disk as they are for every pod; what a container sees of them is
mapped (idmapped mounts): image layers are shared by pods of different ranges, and a volume's files
do not change hands. The mapped mounts are staged where the OCI runtime finds them, whatever it
knows of mappings itself, and taken away again when the container has them. Everything here blocks.
"""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kube.files import mounts
from kube.stubs.cri import api_pb2 as cri
from worker.runtime import kernel
from worker.runtime.errors import InvalidArgument, RuntimeFailure

_libc = ctypes.CDLL(None, use_errno=True)
# The same numbers on every architecture.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x00100000
_START_SECONDS = 10.0
_FLAGS = {"net": "--net", "ipc": "--ipc", "uts": "--uts"}


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mapping(options: cri.NamespaceOption) -> cri.IDMapping | None:
    """The pod's range of ids; None where it has the machine's. Raises InvalidArgument."""
    wanted = options.userns_options
    if not options.HasField("userns_options") or wanted.mode == cri.NODE:
        return None
    if wanted.mode != cri.POD:
        raise InvalidArgument(f"user namespace mode {wanted.mode} is not supported")
    if len(wanted.uids) != 1 or list(wanted.uids) != list(wanted.gids):
        raise InvalidArgument("a user namespace has one mapping, the same for users and groups")
    (only,) = wanted.uids
    if only.container_id or not only.host_id or not only.length:
        raise InvalidArgument("a user namespace maps from 0 to ids that are not the machine's root")
    if cri.NODE in (options.network, options.ipc, options.pid):
        raise InvalidArgument("a pod with a user namespace has no other namespace of the machine's")
    return only


def pin(
    pins: Mapping[str, Path], ids: cri.IDMapping, hostname: str, sysctls: Mapping[str, str]
) -> None:
    """As `kernel.pin_new_namespaces`, owned by a new user namespace: `pins` has "user" too."""
    flags = [_FLAGS[kind] for kind in pins if kind != "user"]
    with _holder(ids, flags) as pid:
        for kind, path in pins.items():
            path.touch(mode=0o444)
            mounts.mount(f"/proc/{pid}/ns/{kind}", str(path), "none", mounts.MS_BIND)
    kernel.in_namespaces(pins, hostname, sysctls)


@contextmanager
def _holder(ids: cri.IDMapping, flags: Iterable[str]) -> Iterator[int]:
    """A process in new namespaces. It does nothing, and ends with the block."""
    process = subprocess.Popen(
        ["unshare", "--user", *flags, "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    try:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        if not readable or process.stdout.read(1) != b"\n":
            raise RuntimeFailure("the kernel makes no user namespace")
        for name in ("uid_map", "gid_map"):
            text = f"{ids.container_id} {ids.host_id} {ids.length}\n"
            Path(f"/proc/{process.pid}/{name}").write_text(text)
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def mount_mapped(source: str, target: Path, namespace: int) -> None:
    """Mount `source` at `target`, its owners as the user namespace sees them."""
    clone = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    tree = _libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), clone)
    mounts.check(0 if tree >= 0 else -1, f"open_tree {source}")
    try:
        attr = _MountAttr(attr_set=_MOUNT_ATTR_IDMAP, userns_fd=namespace)
        flags = _AT_EMPTY_PATH | _AT_RECURSIVE
        done = _libc.syscall(
            _MOUNT_SETATTR, tree, b"", flags, ctypes.byref(attr), ctypes.sizeof(attr)
        )
        mounts.check(done, f"failed to set MOUNT_ATTR_IDMAP on {source}: mount_setattr")
        done = _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target),
                             _MOVE_MOUNT_F_EMPTY_PATH)  # fmt: skip
        mounts.check(done, f"move_mount {target}")
    finally:
        os.close(tree)


class Staging:
    """The mapped mounts of one container, in a directory of its bundle."""

    def __init__(self, bundle: Path, namespace: str) -> None:
        self._directory = bundle / "mapped"
        self._namespace = namespace

    def overlay(self, lower: list[str], upper: Path, work: Path, target: str, root: int) -> None:
        """Mount the container's root: mapped layers, and a writable one that its root owns."""
        for path in (upper, work):
            os.chown(path, root, root)
        staged = [str(self._stage(layer)) for layer in lower]
        kernel.mount_overlay(staged, str(upper), str(work), target)
        self.clear()  # the overlay holds the layers itself

    def take(self, spec: dict[str, Any], shm: str) -> None:
        """Let the OCI spec mount mapped files. The pod's shm is its root's already."""
        for kind in ("proc", "sysfs"):
            self._show(kind)
        for mount in spec["mounts"]:
            if mount["type"] == "bind" and mount["source"] != shm:
                mount["source"] = str(self._stage(mount["source"]))

    def _stage(self, source: str) -> Path:
        self._directory.mkdir(mode=0o711, exist_ok=True)
        target = self._directory / str(len(list(self._directory.iterdir())))
        if Path(source).is_dir():
            target.mkdir()
        else:
            target.touch()
        namespace = os.open(self._namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mount_mapped(source, target, namespace)
        finally:
            os.close(namespace)
        return target

    def _show(self, kind: str) -> None:
        """Who owns no more than a user namespace may mount /proc and /sys only where one of each
        is wholly visible already. On a machine that covers parts of its own, none is; and an OCI
        runtime would show the machine's instead of the pod's."""
        self._directory.mkdir(mode=0o711, exist_ok=True)
        target = self._directory / kind
        target.mkdir()
        flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
        mounts.mount(kind, str(target), kind, flags)

    def clear(self) -> None:
        """Take them away: whoever mounted them has them. Does nothing the second time."""
        if not self._directory.is_dir():
            return
        for target in list(self._directory.iterdir()):
            mounts.unmount(str(target))
            if target.is_dir():
                target.rmdir()
            else:
                target.unlink()
        self._directory.rmdir()


def supported(root: Path) -> bool:
    """Whether this kernel maps the files below `root`, where images lie. Tried once, at start."""
    probe = root / "mapped-probe"
    try:
        probe.mkdir(exist_ok=True)
        with _holder(cri.IDMapping(host_id=65536, container_id=0, length=65536), ()) as pid:
            namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            mount_mapped(str(probe), probe, namespace)
        finally:
            os.close(namespace)
    except (OSError, RuntimeFailure):
        return False
    finally:
        mounts.unmount(str(probe))
        with suppress(OSError):
            probe.rmdir()
    return True
