"""The files that the kubelet itself keeps for a pod's containers and reads again.

A container writes to them, or has a volume in their place, and so decides what they are: a link, a
FIFO, a device, endless. They are read as regular files only, following no link, never more than a
few kilobytes. Everything here blocks; `PodFiles` does it in threads.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from kube.files import beneath
from kube.files.threads import FileThreads
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.cri.logfiles import read_log
from worker.kubelet.cri.logrotation import open_newest, remove_logs, successor
from worker.kubelet.cri.logs import LogOptions
from worker.kubelet.pod import names

MESSAGE_BYTES = 4096  # what upstream reads of a termination message
FALLBACK_BYTES, FALLBACK_LINES = 2048, 80
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def hosts_file(pod: Path, text: str) -> Path:
    """The pod's /etc/hosts. Containers that have it already keep theirs, with what they wrote."""
    path, content = pod / "etc-hosts", text.encode()
    pod.mkdir(parents=True, exist_ok=True)
    with beneath.directory(pod) as directory:
        if _head(directory, path.name, len(content) + 1) != content:
            _replace(directory, path.name, content, 0o644)
    return path


def termination_log(pod: Path, container: str, attempt: int) -> Path:
    path = pod / "containers" / container / str(attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    with beneath.directory(path.parent) as directory:
        _replace(directory, path.name, b"", 0o666)  # the container may run as any user
    return path


def _head(directory: int, name: str, limit: int) -> bytes | None:
    try:
        return beneath.head_of(directory, name, limit)
    except OSError:
        return None


def _replace(directory: int, name: str, content: bytes, mode: int) -> None:
    scratch = f".{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(scratch, dir_fd=directory)
    with os.fdopen(os.open(scratch, _NEW_FILE, 0o600, dir_fd=directory), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    os.rename(scratch, name, src_dir_fd=directory, dst_dir_fd=directory)


def make_log_directory(directory: Path, pod_logs: Path) -> None:
    pod_logs.mkdir(parents=True, exist_ok=True)
    with beneath.directory(pod_logs) as root:
        os.close(beneath.make_plainly(root, str(directory.relative_to(pod_logs))))


def open_log(path: Path, pod_logs: Path) -> int:
    """A container's log, opened for reading; OSError when it is no regular file of its own place.

    A container with a hostPath volume may own the directory of logs, so no link is followed in it.
    """
    if not path.is_relative_to(pod_logs):
        raise FileNotFoundError(errno.ENOENT, "not a container's log", str(path))
    return open_newest(path, pod_logs)


class PodFiles:
    """Reads, in a few threads of its own, what containers write for the kubelet."""

    def __init__(self, root: Path, pod_logs: Path) -> None:
        self._root, self._pod_logs = root, pod_logs
        self._threads = FileThreads("pod-files", 4)

    async def open_log(self, path: Path) -> int:
        return await self._threads.run(open_log, path, self._pod_logs)

    def read_log(
        self, log: int, path: Path, options: LogOptions, is_running: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """Of the log at `path`, which is open as `log`."""
        following = functools.partial(successor, path=path, pod_logs=self._pod_logs)
        return read_log(self._threads, log, options, is_running, following)

    async def remove_logs(self, path: Path) -> None:
        await self._threads.run(remove_logs, path, self._pod_logs)

    async def make_log_directory(self, directory: str) -> None:
        await self._threads.run(make_log_directory, Path(directory), self._pod_logs)

    async def message(self, status: cri.ContainerStatus) -> str:
        """What an ended container left for its status."""
        return await self._threads.run(self._message, status)

    def _message(self, status: cri.ContainerStatus) -> str:
        """The end of the message file, or of the log where the container asked for that."""
        path = status.annotations.get(names.TERMINATION_PATH, "")
        text = ""
        for mount in status.mounts:
            if path and mount.container_path == path:
                text = self._tail(Path(mount.host_path), MESSAGE_BYTES)
        policy = status.annotations.get(names.TERMINATION_POLICY, "")
        if not text and policy == "FallbackToLogsOnError" and status.exit_code:
            text = log_tail(self._tail(Path(status.log_path), 8 * FALLBACK_BYTES))
        return text

    def _tail(self, path: Path, limit: int) -> str:
        """Below the kubelet's own directories, whose paths may have links; elsewhere none may."""
        try:
            for base in (self._root, self._pod_logs):
                if path.is_relative_to(base):
                    with beneath.directory(base) as root:
                        content = beneath.tail_of(root, str(path.relative_to(base)), limit)
                    return content.decode(errors="replace")
            return beneath.absolute_tail(path, limit).decode(errors="replace")
        except OSError:
            return ""


def log_tail(text: str) -> str:
    """The last lines of a CRI log, without their prefixes."""
    texts = [line.split(" ", 3)[3] for line in text.splitlines() if line.count(" ") >= 3]
    return "\n".join(texts[-FALLBACK_LINES:])[-FALLBACK_BYTES:]
