"""Sets up and tears down a pod's volumes and the files that the kubelet mounts into it.

configMap, secret, downwardAPI and projected volumes live on a tmpfs each, as upstream's secrets do,
and are always mounted read-only. What touches a volume runs in threads of this module: how much
lies there, and what, its containers decide.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kube.api import core
from kube.component.log import get_logger
from kube.files import beneath, mounts, trees
from kube.files.threads import FileThreads
from kube.machinery.quantity import whole
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet import metrics
from worker.kubelet.cri.configs import mount, termination_path
from worker.kubelet.pod import names
from worker.kubelet.pod.env import ConfigError, Sources
from worker.kubelet.pod.expand import expand
from worker.kubelet.volumes import atomicfiles, podfiles, subpaths
from worker.kubelet.volumes.payload import File, VolumeError, is_projection, payload

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
        self._threads = FileThreads("volumes", 4)
        self._removals = FileThreads("removals", 2)
        # A directory of the node may be a file system that does not answer: others' pods go on.
        self._host_paths = FileThreads("host-paths", 8)

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

    async def refresh(self, pod: core.Pod, sources: Sources) -> None:
        """Let projections follow their sources; a running pod's other volumes are its own."""
        for volume in pod.spec.volumes:
            if is_projection(volume):
                with _measured(self.plugin(volume), volume.name):
                    await self._project(pod, volume, sources, fresh=False)

    async def _project(
        self, pod: core.Pod, volume: core.Volume, sources: Sources, *, fresh: bool
    ) -> None:
        files = payload(pod, volume, sources)
        path, group = self.path(pod, volume), _fs_group(pod)
        size = _projection_bytes(volume) if fresh else 0
        await self._threads.run(_write_projection, path, files, group, size)

    async def _setup_one(self, pod: core.Pod, volume: core.Volume, sources: Sources) -> None:
        path, group = self.path(pod, volume), _fs_group(pod)
        if is_projection(volume):
            await self._project(pod, volume, sources, fresh=True)
        elif volume.empty_dir:
            await _empty_dir(path, volume.empty_dir, group)
        elif volume.host_path:
            await self._host_paths.run(_host_path, path, volume.host_path.type)

    def pod_dirs(self) -> list[str]:
        """The uids that have a directory here."""
        base = self.root / "pods"
        return [p.name for p in base.iterdir()] if base.is_dir() else []

    async def teardown(self, uid: str) -> None:
        """Unmount and delete everything of the pod, but nothing that a mount leads to."""
        directory = names.pod_dir(self.root, uid)
        await self._threads.run(_unmount_below, directory)
        await self.remove_tree(directory)

    async def remove_tree(self, directory: Path) -> None:
        """Delete what a pod left, however much it is, while others get their turns."""
        await self._removals.remove_tree(directory)

    # -- mounts of a container

    async def mounts(
        self,
        pod: core.Pod,
        container: core.Container,
        env: Mapping[str, str],
        hosts: str,
        attempt: int,
    ) -> list[cri.Mount]:
        """Volumes, then /etc/hosts and the termination log, which no volume may hide."""
        has_host_paths = any(volume.host_path for volume in pod.spec.volumes)
        threads = self._host_paths if has_host_paths else self._threads
        return await threads.run(self._mounts, pod, container, env, hosts, attempt)

    def _mounts(
        self,
        pod: core.Pod,
        container: core.Container,
        env: Mapping[str, str],
        hosts: str,
        attempt: int,
    ) -> list[cri.Mount]:
        by_name = {volume.name: volume for volume in pod.spec.volumes}
        result = []
        for index, wanted in enumerate(container.volume_mounts):
            if wanted.name not in by_name:
                raise ConfigError(f'volume "{wanted.name}" of a mount does not exist')
            volume = by_name[wanted.name]
            sub_path = expand(wanted.sub_path_expr, env) or wanted.sub_path
            host = self.path(pod, volume)
            if sub_path:
                host = self._sub_path(pod, volume, container.name, index, sub_path)
            result.append(
                mount(
                    _absolute(wanted.mount_path),
                    host,
                    read_only=bool(wanted.read_only) or is_projection(volume),
                    propagation=wanted.mount_propagation,
                )
            )
        taken = {item.container_path for item in result}
        directory = names.pod_dir(self.root, pod.metadata.uid)
        if "/etc/hosts" not in taken:
            result.append(mount("/etc/hosts", podfiles.hosts_file(directory, hosts)))
        message = termination_path(container)
        if message not in taken:
            log_file = podfiles.termination_log(directory, container.name, attempt)
            result.append(mount(message, log_file))
        return result

    def _sub_path(
        self, pod: core.Pod, volume: core.Volume, container: str, index: int, sub_path: str
    ) -> Path:
        directory = names.pod_dir(self.root, pod.metadata.uid)
        target = subpaths.mount_point(directory, volume.name, container, index)
        try:
            subpaths.prepare(
                self.path(pod, volume), sub_path, target, absolute_links=bool(volume.host_path)
            )
        except OSError as error:
            log.warning("subPath refused", volume=volume.name, sub_path=sub_path, error=str(error))
            raise ConfigError(
                f'failed to prepare subPath for volumeMount "{volume.name}" of container '
                f'"{container}"'
            ) from error
        return target


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


def _write_projection(path: Path, files: Mapping[str, File], group: int | None, size: int) -> None:
    """Show `files` in the volume. With a size, it gets its tmpfs first, if it has none yet."""
    if size and not mounts.is_mount(path):
        trees.remove(path)
        path.mkdir(parents=True)
        mounts.tmpfs(path, f"mode=0755,size={size}")
    path.mkdir(parents=True, exist_ok=True)
    with beneath.directory(path) as handle:
        volume = beneath.reopen(handle, os.O_RDONLY | os.O_DIRECTORY)
    try:
        atomicfiles.write(volume, files, group)
    finally:
        os.close(volume)


def _projection_bytes(volume: core.Volume) -> int:
    """Room for the old set beside the new; a page for each file, so an object of very many tiny
    keys does not become a hundred times its size in the node's memory."""
    sources = len(volume.projected.sources) if volume.projected else 1
    return (64 + 8 * sources) << 20


def _unmount_below(directory: Path) -> None:
    for point in mounts.below(directory):
        mounts.unmount(str(point))
    if mounts.below(directory):
        raise OSError(f"{directory} still has mounts")


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
