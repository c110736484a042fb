"""The few Linux calls that Python 3.11 does not offer: mount, namespaces, overlayfs.

Everything here is synchronous and short; callers on the event loop run it in a thread.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from kube.files.mounts import MS_BIND, check, mount

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000
_NAMESPACE_FLAGS = {"net": CLONE_NEWNET, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS}
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def mount_overlay(lower: Sequence[str], upper: str, work: str, target: str) -> None:
    """Mount an overlay; `lower` is given base first, overlayfs wants the top first."""
    data = f"lowerdir={':'.join(reversed(lower))},upperdir={upper},workdir={work}"
    # mount(2) copies one page of options; longer ones would be cut silently.
    if len(data) >= os.sysconf("SC_PAGE_SIZE"):
        raise OSError(f"image has too many layers ({len(lower)}) for one overlay mount")
    mount("overlay", target, "overlay", 0, data)


def sync_filesystem(path: Path) -> None:
    """syncfs(2): make all that was written below `path` survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(_libc.syncfs(fd), f"syncfs {path}")
    finally:
        os.close(fd)


def in_own_thread(action: Callable[[], None]) -> None:
    """Run `action` in a thread that ends with it, so that its namespaces end there too."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # handed to the caller
            failure.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def pin_new_namespaces(pins: Mapping[str, Path], hostname: str, sysctls: Mapping[str, str]) -> None:
    """Make new namespaces and keep them by bind mounts, without any process in them.

    `pins` maps a kind (net, ipc, uts) to the file that keeps it. The hostname and the sysctls
    (those are per network or IPC namespace) are set inside; the loopback device is brought up.
    """

    def make() -> None:
        flags = 0
        for kind in pins:
            flags |= _NAMESPACE_FLAGS[kind]
        check(_libc.unshare(flags), "unshare")
        _settle(pins, hostname, sysctls)
        for kind, path in pins.items():
            path.touch(mode=0o444)
            mount(f"/proc/thread-self/ns/{kind}", str(path), "none", MS_BIND)

    in_own_thread(make)


def _settle(kinds: Iterable[str], hostname: str, sysctls: Mapping[str, str]) -> None:
    """What new namespaces need, from a thread that is in them."""
    if "net" in kinds:
        _loopback_up()
    if "uts" in kinds and hostname:
        socket.sethostname(hostname)
    for name, value in sysctls.items():
        write_sysctl(name, value)


def in_namespaces(pins: Mapping[str, Path], hostname: str, sysctls: Mapping[str, str]) -> None:
    """The same for namespaces that somebody else has made and pinned."""

    def inside() -> None:
        for kind, path in pins.items():
            if kind in _NAMESPACE_FLAGS:
                _enter(path, _NAMESPACE_FLAGS[kind])
        _settle(pins, hostname, sysctls)

    in_own_thread(inside)


def _enter(path: Path, flag: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(_libc.setns(fd, flag), f"setns {path}")
    finally:
        os.close(fd)


def run_in_network_namespace(path: Path, action: Callable[[], None]) -> None:
    """Run `action` in a thread that has joined the network namespace pinned at `path`."""

    def inside() -> None:
        _enter(path, CLONE_NEWNET)
        action()

    in_own_thread(inside)


def write_sysctl(name: str, value: str) -> None:
    """`net.ipv4.ip_forward` or `net/ipv4/conf/eth0.100/forwarding`: sysctl(8)'s two spellings."""
    relative = name if "/" in name else name.replace(".", "/")
    if ".." in relative.split("/"):
        raise OSError(f'sysctl name "{name}" is not valid')
    Path("/proc/sys", relative).write_text(value)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, request)
        flags = struct.unpack_from("H", answer, 16)[0] | _IFF_UP
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))
