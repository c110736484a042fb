"""Boots one machine: `python -m provision.providers.local.launch SPEC.json`.

A process of its own, because it changes its own namespaces and cgroups beyond return, and a
small one: it imports nothing but the standard library. It ends as soon as the machine's systemd
has been executed, with exit code 0; or with 1 and the reason on standard error.

    launcher: own mounts -> disk mounted and filled -> new pid namespace -> fork
       \\_ PID 1: waits until it is in its cgroups and on record -> other namespaces
                  -> root, /proc, /dev, ... -> exec systemd

With a user namespace of its own, the disk and /usr are mounted with shifted owners first, and a
process in between joins that namespace, so that all namespaces of PID 1 belong to it.

The order matters. The disk image is a block device, which the cgroup's device rules refuse.
Only PID 1 may be in the machine's cgroup, or systemd cannot enable controllers there (cgroup 2
allows no processes beside children). And the machine must be on record before it runs, or a
crash between would leave it unnamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from provision.providers.local import kernel, loop, processes, rootfs
from provision.providers.local.launchspec import LaunchSpec

# What a machine's root may not do to the host, whatever runs inside asks for: open files by handle
# (which leads to any file of a disk that the machine shares with the host), load modules or another
# kernel, reach I/O ports, write process accounts, set the wall clock or the console, keep the host
# awake, read the kernel's log or audit it, change its mandatory rules, or leave files that
# `destroy` could not remove (capabilities(7)).
_DROPPED_CAPABILITIES = {
    "dac_read_search": 2,
    "linux_immutable": 9,
    "sys_module": 16,
    "sys_rawio": 17,
    "sys_pacct": 20,
    "sys_boot": 22,
    "sys_time": 25,
    "sys_tty_config": 26,
    "audit_control": 30,
    "mac_override": 32,
    "mac_admin": 33,
    "syslog": 34,
    "wake_alarm": 35,
    "block_suspend": 36,
    "audit_read": 37,
}
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "container": "muster",  # how systemd learns where it is (systemd.io/CONTAINER_INTERFACE)
}
_SYSCTLS = {
    "net/ipv4/ip_forward": "1",  # a node routes for its pods
    # A new namespace inherits the host's taste here; machines shall be alike everywhere.
    "net/ipv4/conf/all/rp_filter": "2",
    "net/ipv4/conf/default/rp_filter": "2",
}


def launch(spec: LaunchSpec) -> None:
    """Boot the machine; returns once its PID 1 has become systemd."""
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != spec["parent"]:
        raise OSError(0, "the command that wanted this machine has died")
    os.setsid()
    os.umask(0o022)
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    disk = Path(spec["disk"])
    if spec["image"]:
        _mount_image(spec["image"], disk)
    rootfs.populate(disk, spec)
    if spec["user_base"] is None:
        kernel.unshare(kernel.CLONE_NEWPID)  # for the child: a process never changes its own pid
        _fork_init(spec)
    else:
        user_namespace = kernel.user_namespace_of(spec["netns"])
        rootfs.shift(disk, user_namespace, spec["user_base"])
        _fork_init(spec, user_namespace)


def _mount_image(image: str, disk: Path) -> None:
    """Seen in this mount namespace only: when the machine dies, the loop device goes with it."""
    descriptor, device = loop.attach(image)
    try:
        # What is deleted inside is given back to the host: `discard` punches holes in the image.
        kernel.mount(device, str(disk), "ext4", kernel.MS_NOATIME, "discard,noinit_itable")
    finally:
        os.close(descriptor)


def _fork_init(spec: LaunchSpec, user_namespace: int | None = None) -> None:
    go_read, go_write = os.pipe()
    failure_read, failure_write = os.pipe()

    def child() -> None:
        os.close(go_write)
        os.close(failure_read)
        _become_init(spec, go_read, failure_write)

    pid = _fork(child) if user_namespace is None else _fork_within(user_namespace, child)
    os.close(go_read)
    os.close(failure_write)
    for procs in spec["cgroup_procs"]:
        Path(procs).write_text(str(pid))
    processes.write_record(Path(spec["record"]), processes.describe(pid))
    os.write(go_write, b"go")
    os.close(go_write)
    with os.fdopen(failure_read, "rb") as pipe:
        # exec closes the other end, so silence means success.
        failure = pipe.read().decode()
    if failure:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        raise OSError(0, failure)


def _fork(child: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        child()
    return pid


def _fork_within(user_namespace: int, child: Callable[[], None]) -> int:
    """Fork by way of a process that has joined the namespace, so that the child's pid namespace
    belongs to it (or it could not mount /proc). Its pid is told in the numbers of this process."""
    pid_read, pid_write = os.pipe()

    def between() -> None:
        try:
            kernel.join_user_namespace(user_namespace)
            kernel.unshare(kernel.CLONE_NEWPID)
            os.write(pid_write, str(_fork(child)).encode())
        finally:
            os._exit(0)

    way = _fork(between)
    os.close(pid_write)
    os.waitpid(way, 0)
    told = os.read(pid_read, 20)  # not to the end: the child holds the other one too
    os.close(pid_read)
    if not told:
        raise OSError(0, "cannot start a process in the machine's user namespace")
    return int(told)


def _become_init(spec: LaunchSpec, go: int, failure: int) -> None:
    """Never returns: either this process becomes systemd or it says why not and ends."""
    try:
        if os.read(go, 2) != b"go":
            raise OSError(0, "the launcher died")
        kernel.join_namespace(spec["netns"], kernel.CLONE_NEWNET)
        kernel.unshare(kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWCGROUP)
        if spec["user_base"] is not None:
            kernel.unshare(kernel.CLONE_NEWNS)  # one that belongs to the user namespace
        _prepare(spec)
        os.execve(spec["init"][0], spec["init"], _ENVIRONMENT)  # noqa: S606 - no shell is meant
    except BaseException as error:
        os.write(failure, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(1)


def _prepare(spec: LaunchSpec) -> None:
    socket.sethostname(spec["hostname"])
    if spec["user_base"] is None:
        rootfs.enter(Path(spec["disk"]))
        rootfs.mount_kernel_file_systems(spec)
    else:
        rootfs.enter_shifted(spec)
    rootfs.write_files(Path("/"), spec["every_boot"])
    for name, value in _SYSCTLS.items():
        Path("/proc/sys", name).write_text(value)
    for number in _DROPPED_CAPABILITIES.values():
        kernel.drop_capability(number)
    _reset_signals()
    _redirect_stdio("/var/log/init.log")


def _reset_signals() -> None:
    """Python ignores SIGPIPE, and exec keeps ignored signals ignored."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _redirect_stdio(log: str) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    for descriptor, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, descriptor)


def main() -> int:
    try:
        spec: LaunchSpec = json.loads(Path(sys.argv[1]).read_text())
        launch(spec)
    except (OSError, ValueError) as error:
        sys.stderr.write(
            f"{error.strerror if isinstance(error, OSError) and error.strerror else error}\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
