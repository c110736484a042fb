"""Sets up and tears down a pod's volumes and the files that the kubelet mounts into it."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from muster.api import core
from muster.api.quantity import whole
from muster.component.log import get_logger
from muster.cri import api_pb2 as cri
from worker.kubelet import atomicfiles, metrics, names
from worker.kubelet.configs import mount, termination_path
from worker.kubelet.env import ConfigError, Sources
from worker.kubelet.expand import expand
from worker.kubelet.payload import VolumeError, is_projection, payload

log = get_logger(__name__)

_PLUGINS = {
    "config_map": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downward_api": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
    "empty_dir": "kubernetes.io~empty-dir",
    "host_path": "kubernetes.io~host-path",
}


class Volumes:
    """The volumes of all pods of this node, under `<root>/pods/<uid>`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def plugin(self, volume: core.Volume) -> str:
        """Upstream's name of the volume's kind; empty for a kind that this kubelet lacks."""
        kinds = (name for field, name in _PLUGINS.items() if getattr(volume, field) is not None)
        return next(kinds, "")

    def path(self, pod: core.Pod, volume: core.Volume) -> Path:
        """Where the volume is on the node."""
        if volume.host_path:
            return Path(volume.host_path.path)
        base = names.pod_dir(self.root, pod.metadata.uid) / "volumes"
        return base / self.plugin(volume) / volume.name

    async def setup(self, pod: core.Pod, sources: Sources) -> None:
        """Make every volume ready for a new sandbox. Can be repeated."""
        for volume in pod.spec.volumes:
            plugin = self.plugin(volume)
            if not plugin:
                raise VolumeError(f'volume "{volume.name}" is of a kind that this kubelet lacks')
            with _measured(plugin, volume.name):
                await self._setup_one(pod, volume, sources)

    def refresh(self, pod: core.Pod, sources: Sources) -> None:
        """Let projections follow their sources; a running pod's other volumes are its own."""
        for volume in pod.spec.volumes:
            if is_projection(volume):
                with _measured(self.plugin(volume), volume.name):
                    self._project(pod, volume, sources)

    def _project(self, pod: core.Pod, volume: core.Volume, sources: Sources) -> None:
        files = payload(pod, volume, sources)
        atomicfiles.write(self.path(pod, volume), files, _fs_group(pod))

    async def _setup_one(self, pod: core.Pod, volume: core.Volume, sources: Sources) -> None:
        path, group = self.path(pod, volume), _fs_group(pod)
        if is_projection(volume):
            self._project(pod, volume, sources)
        elif volume.empty_dir:
            await _empty_dir(path, volume.empty_dir, group)
        elif volume.host_path:
            _host_path(path, volume.host_path.type)

    def pod_dirs(self) -> list[str]:
        """The uids that have a directory here."""
        base = self.root / "pods"
        return [p.name for p in base.iterdir()] if base.is_dir() else []

    async def teardown(self, uid: str) -> None:
        """Unmount and delete everything of the pod, but nothing that a mount leads to."""
        directory = names.pod_dir(self.root, uid)
        for point in _mounts_below(directory):
            await _run("umount", "--lazy", str(point))
        if _mounts_below(directory):
            raise OSError(f"{directory} still has mounts")
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    # -- mounts of a container

    def mounts(
        self,
        pod: core.Pod,
        container: core.Container,
        env: Mapping[str, str],
        hosts: str,
        attempt: int,
    ) -> list[cri.Mount]:
        """Volumes, then /etc/hosts and the termination log, which no volume may hide."""
        by_name = {volume.name: volume for volume in pod.spec.volumes}
        result = []
        for wanted in container.volume_mounts:
            if wanted.name not in by_name:
                raise ConfigError(f'volume "{wanted.name}" of a mount does not exist')
            host = self.path(pod, by_name[wanted.name])
            sub_path = expand(wanted.sub_path_expr, env) or wanted.sub_path
            if sub_path:
                host = _sub_path(host, sub_path)
            result.append(
                mount(
                    _absolute(wanted.mount_path),
                    host,
                    read_only=bool(wanted.read_only),
                    propagation=wanted.mount_propagation,
                )
            )
        taken = {item.container_path for item in result}
        if "/etc/hosts" not in taken:
            result.append(mount("/etc/hosts", self._hosts(pod, hosts)))
        message = termination_path(container)
        if message not in taken:
            result.append(mount(message, self._termination_log(pod, container, attempt)))
        return result

    def _hosts(self, pod: core.Pod, text: str) -> Path:
        path = names.pod_dir(self.root, pod.metadata.uid) / "etc-hosts"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        path.chmod(0o644)
        return path

    def _termination_log(self, pod: core.Pod, container: core.Container, attempt: int) -> Path:
        base = names.pod_dir(self.root, pod.metadata.uid)
        path = base / "containers" / container.name / str(attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        path.chmod(0o666)  # the container may run as any user
        return path


@contextmanager
def _measured(plugin: str, name: str) -> Iterator[None]:
    """Time one setup, and give whatever goes wrong upstream's words."""
    began, status, label = time.monotonic(), "success", plugin.replace("~", "/")
    try:
        yield
    except (OSError, VolumeError) as error:
        status = "fail-unknown"
        metrics.STORAGE_ERRORS.labels(label, "volume_mount").inc()
        raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
    finally:
        seconds = time.monotonic() - began
        metrics.STORAGE_SECONDS.labels(label, "volume_mount", status, "false").observe(seconds)


def _absolute(path: str) -> str:
    return path if path.startswith("/") else "/" + path


def _fs_group(pod: core.Pod) -> int | None:
    return pod.spec.security_context.fs_group if pod.spec.security_context else None


async def _empty_dir(path: Path, source: core.EmptyDirVolumeSource, group: int | None) -> None:
    if path.exists() and (source.medium != "Memory" or path.is_mount()):
        return  # what the containers made of it, its mode too, outlives the sandbox
    path.mkdir(parents=True, exist_ok=True)
    if source.medium == "Memory":
        options = f"size={whole(source.size_limit)}" if source.size_limit else "size=50%"
        await _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path))
    elif source.medium not in ("", "Memory"):
        raise VolumeError(f'unsupported medium "{source.medium}"')
    path.chmod(0o777)
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o2777)


def _host_path(path: Path, kind: str) -> None:
    """Check, or create, what the hostPath's type promises."""
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    tests = {
        "Directory": stat.S_ISDIR,
        "DirectoryOrCreate": stat.S_ISDIR,
        "File": stat.S_ISREG,
        "FileOrCreate": stat.S_ISREG,
        "Socket": stat.S_ISSOCK,
        "CharDevice": stat.S_ISCHR,
        "BlockDevice": stat.S_ISBLK,
    }
    test = tests.get(kind)
    if test and not (path.exists() and test(path.stat().st_mode)):
        raise VolumeError(f"hostPath type check failed: {path} is not a {kind}")
    if not kind and not path.exists():
        path.mkdir(parents=True, exist_ok=True)


def _sub_path(volume: Path, sub_path: str) -> Path:
    """The place inside the volume, made if missing; never outside, also not by symlinks."""
    if sub_path.startswith("/") or ".." in Path(sub_path).parts:
        raise ConfigError(f'subPath "{sub_path}" must not be absolute or contain ".."')
    root = volume.resolve()
    target = (root / sub_path).resolve()
    if not target.is_relative_to(root):
        raise ConfigError(f'failed to prepare subPath "{sub_path}": it leads out of the volume')
    if not target.exists():
        target.mkdir(parents=True)
    return target


def _mounts_below(directory: Path) -> list[Path]:
    """Mount points under the directory, innermost first."""
    prefix = str(directory) + "/"
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].replace("\\040", " ")
        if point.startswith(prefix):
            points.append(Path(point))
    return sorted(points, key=lambda p: len(p.parts), reverse=True)


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    if process.returncode:
        raise OSError(f"{command[0]} failed: {stderr.decode(errors='replace').strip()}")
