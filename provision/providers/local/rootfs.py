"""A machine's root file system, built by the launcher: first its disk, then its mounts.

Everything persistent lies on the machine's own disk; /usr is the host's, under an overlay whose
upper half is on that disk too. After the pivot nothing else of the host can be named.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from provision.providers.local import kernel
from provision.providers.local.kernel import MS_NODEV, MS_NOEXEC, MS_NOSUID
from provision.providers.local.launchspec import FileSpec, LaunchSpec

_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "net/tun": (10, 200),
    "fuse": (10, 229),
}
_DEVICE_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
# Of the disk, beside the root.
_DIRECTORIES = ("usr-upper", "usr-work", "usr-host", "devices")
# They tell of the whole host, and a machine has no use for them.
_HIDDEN = ("/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/timer_list")
_READ_ONLY = ("/proc/irq", "/proc/bus", "/proc/fs", "/proc/sysrq-trigger")


def populate(disk: Path, spec: LaunchSpec) -> None:
    """Fill a new disk. A crash half-way leaves no mark, so the next launch does it over."""
    made = disk / "made"
    if made.exists():
        return
    root = disk / "root"
    for path in (root, *(disk / name for name in _DIRECTORIES)):
        path.mkdir(parents=True, exist_ok=True)
    for name, mode in spec["directories"].items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    for name, target in spec["links"].items():
        _link(root / name, target)
    for name, source in spec["copies"].items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / name)
    write_files(root, spec["files"])
    made.touch()


def write_files(root: Path, files: list[FileSpec]) -> None:
    for file in files:
        path = root / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
        path.chmod(file["mode"])


def shift(disk: Path, user_namespace: int, base: int) -> None:
    """Let the disk and the host's /usr belong to the machine's users. Leaves us on the disk.

    The devices are made here: within a user namespace nobody can.
    """
    for source, target in ((str(disk), disk), ("/usr", disk / "usr-host")):
        target.mkdir(exist_ok=True)
        mount = kernel.cloned(source)
        kernel.shift_owners(mount, user_namespace)
        kernel.attach(mount, str(target))
    devices = disk / "devices"
    kernel.mount("tmpfs", str(devices), "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=1m")
    for path in _make_device_nodes(devices):
        os.chown(path, base, base)
    os.chdir(disk)  # the way here is the host's root's alone


def enter_shifted(spec: LaunchSpec) -> None:
    """As `enter` and `mount_kernel_file_systems`, for the root of a user namespace.

    The kernel lets it mount /proc and /sys only while it sees the host's, and the devices are the
    host's too: they are taken along as mounts that are not attached yet. Nothing lies over files of
    /proc: the kernel would then refuse containers a /proc of their own. What the masks keep from
    other machines belongs to the host's root, who is nobody here.
    """
    proc, sysfs = kernel.made("proc"), kernel.made("sysfs")
    devices = {name: kernel.cloned(f"devices/{name}") for name in _DEVICES}
    kernel.bind("root", "root")
    kernel.mount(
        "overlay",
        "root/usr",
        "overlay",
        MS_NODEV,
        "userxattr,lowerdir=usr-host,upperdir=usr-upper,workdir=usr-work",
    )
    os.chdir("root")
    kernel.pivot_here()
    os.chdir("/")
    _mount_dev()
    for name, mount in devices.items():
        Path("/dev", name).touch()
        kernel.attach(mount, f"/dev/{name}")
    _finish_dev()
    kernel.attach(proc, "/proc")
    kernel.attach(sysfs, "/sys")
    _mount_the_rest(spec)


def enter(disk: Path) -> None:
    """Put /usr under the disk's root, make that the root, and let go of everything else."""
    root = str(disk / "root")
    kernel.bind(root, root)
    kernel.mount(
        "overlay",
        f"{root}/usr",
        "overlay",
        MS_NODEV,
        f"lowerdir=/usr,upperdir={disk}/usr-upper,workdir={disk}/usr-work",
    )
    os.chdir(root)
    kernel.pivot_here()
    os.chdir("/")


def mount_kernel_file_systems(spec: LaunchSpec) -> None:
    """After the pivot: whatever links the machine left on its disk, they lead nowhere outside."""
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _make_devices()
    kernel.mount("proc", "/proc", "proc", safe)
    _guard_proc()
    kernel.mount("sysfs", "/sys", "sysfs", safe)
    _mount_the_rest(spec)


def _mount_the_rest(spec: LaunchSpec) -> None:
    _mount_cgroups(spec)
    # Read-only so that a machine cannot turn the host's knobs; systemd also takes it as the
    # sign that devices are not its business. Mounts below /sys keep their own flag.
    kernel.make_read_only("/sys")
    kernel.mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    kernel.mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")  # noqa: S108 - its own
    Path("/run/lock").mkdir()
    Path("/run/lock").chmod(0o1777)
    # Container runtimes expect a shared root, as systemd makes it on a real machine.
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_SHARED)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _make_devices() -> None:
    _mount_dev()
    _make_device_nodes(Path("/dev"))
    _finish_dev()


def _mount_dev() -> None:
    kernel.mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=1m")
    for name in ("pts", "shm", "mqueue", "net"):
        Path("/dev", name).mkdir()


def _make_device_nodes(directory: Path) -> list[Path]:
    made = []
    for name, (major, minor) in _DEVICES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        path.chmod(0o666)  # mknod(2) takes the umask off
        made.append(path)
    return made


def _finish_dev() -> None:
    for name, target in _DEVICE_LINKS.items():
        Path("/dev", name).symlink_to(target)
    options = "newinstance,ptmxmode=0666,mode=0620,gid=5"
    kernel.mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, options)
    kernel.mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")  # noqa: S108 - its own


def _guard_proc() -> None:
    """Sysctls of the network are the machine's own; all others belong to the host."""
    kernel.bind("/proc/sys", "/proc/sys")
    kernel.bind("/proc/sys/net", "/proc/sys/net")
    kernel.make_read_only("/proc/sys")  # and not what is mounted within
    for path in _READ_ONLY:
        if Path(path).exists():
            kernel.bind(path, path)
            kernel.make_read_only(path)
    for path in _HIDDEN:
        if Path(path).exists():
            kernel.bind("/dev/null", path)


def _mount_cgroups(spec: LaunchSpec) -> None:
    top = "/sys/fs/cgroup"
    safe = MS_NOSUID | MS_NODEV | MS_NOEXEC
    targets = [m["target"] for m in spec["cgroup_mounts"]]
    if targets != [top]:
        kernel.mount("tmpfs", top, "tmpfs", safe, "mode=755")
    for entry in spec["cgroup_mounts"]:
        Path(entry["target"]).mkdir(exist_ok=True)
        kernel.mount(entry["kind"], entry["target"], entry["kind"], safe, entry["options"])
    for link, target in spec["cgroup_links"].items():
        _link(Path(link), target)
