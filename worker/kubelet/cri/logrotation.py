"""Keeps the logs of containers small: renames a full one, lets the runtime begin anew, compresses.

Follows upstream's `container_log_manager`: `0.log` becomes `0.log.20261130-200501`, which stays
plain until the next rotation and is `….gz` from then on. Of a container, the current log and the
newest few stay; also of those, together, no more than the current log may have as many times as
there may be files, since a container can write very much between two looks.

A container with a hostPath volume may own the directory of its logs. So everything happens in the
directory that is held open, by names in it, on regular files; nothing there is followed. The work
is done in threads in slices, so that nobody's huge log keeps others' from being rotated.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kube.component.log import get_logger
from kube.files import beneath
from kube.files.threads import FileThreads
from worker.kubelet.cri.records import ContainerRecord, State
from worker.kubelet.cri.runtime import Runtime, RuntimeFailure

log = get_logger(__name__)
_ROTATED = re.compile(r"\.\d{8}-\d{6}(\.gz)?$")
_SLICE_BYTES = 4 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    max_bytes: int = 10 << 20
    max_files: int = 5
    interval_seconds: float = 10.0


class LogRotation:
    def __init__(
        self,
        runtime: Runtime,
        pod_logs: Path,
        policy: RotationPolicy,
        records: Callable[[], Iterable[ContainerRecord]],
    ) -> None:
        self._runtime, self._pod_logs, self._policy = runtime, pod_logs, policy
        self._records = records
        self._threads = FileThreads("log-rotation", 2)
        self._compressing: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(self._policy.interval_seconds)
                for record in list(self._records()):
                    if record.state is State.RUNNING and record.log_path:
                        await self._look_at(record, tasks)

    async def _look_at(self, record: ContainerRecord, tasks: asyncio.TaskGroup) -> None:
        path = Path(record.log_path)
        try:
            if await self._threads.run(size, path, self._pod_logs) <= self._policy.max_bytes:
                return
            if (busy := self._compressing.get(record.id)) is not None:
                # It writes faster than anybody compresses: what is too much is removed instead.
                busy.cancel()
                await asyncio.gather(busy, return_exceptions=True)
            await self._rotate(record, path)
        except (OSError, ValueError, RuntimeFailure) as error:
            log.warning("log not rotated", log=str(path), error=str(error))
            return
        task = tasks.create_task(self._compress(record.id, path), name=f"compress-{path.name}")
        self._compressing[record.id] = task

    async def _rotate(self, record: ContainerRecord, path: Path) -> None:
        now = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        await self._threads.run(clear, path, self._pod_logs, self._policy)
        rotated = await self._threads.run(set_aside, path, self._pod_logs, now)
        try:
            await self._runtime.reopen_log(record.id)
        except RuntimeFailure:
            # The runtime goes on in the file that it has open: give that its name back.
            await self._threads.run(put_back, path, self._pod_logs, rotated)
            raise
        log.info("log rotated", log=str(path), rotated=rotated)

    async def _compress(self, container_id: str, path: Path) -> None:
        try:
            work = await self._threads.run(_Compression, path, self._pod_logs)
            try:
                while not await self._threads.run(work.slice):
                    pass
            finally:
                await self._threads.run(work.close)
        except (OSError, ValueError) as error:
            log.warning("log not compressed", log=str(path), error=str(error))
        finally:
            del self._compressing[container_id]


def size(path: Path, pod_logs: Path) -> int:
    """Of the log; 0 when it is no regular file of its own place. Blocks, as all below."""
    with beneath.directory(pod_logs) as root:
        fd = beneath.regular(root, str(path.relative_to(pod_logs)))
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def set_aside(path: Path, pod_logs: Path, now: str) -> str:
    """Give the log the name of a rotated one, the newest of all; returns it."""
    with _directory(path, pod_logs) as directory:
        taken = [n for n in _names(directory, path.name) if _ROTATED.search(n)]
        name = next_name(path.name, now, taken)
        os.rename(path.name, name, src_dir_fd=directory, dst_dir_fd=directory)
    return name


def next_name(log_name: str, now: str, taken: Iterable[str]) -> str:
    """The names sort by time also when there are two in a second, or the clock is set back."""
    newest = max((n.removeprefix(f"{log_name}.").removesuffix(".gz") for n in taken), default="")
    if newest < now:
        return f"{log_name}.{now}"
    day, _, second = newest.partition("-")
    return f"{log_name}.{day}-{int(second) + 1:06}"


def put_back(path: Path, pod_logs: Path, name: str) -> None:
    """Undo `set_aside`, unless there is a new log already."""
    with _directory(path, pod_logs) as directory, suppress(FileExistsError):
        os.link(name, path.name, src_dir_fd=directory, dst_dir_fd=directory,
                follow_symlinks=False)  # fmt: skip
        os.unlink(name, dir_fd=directory)


def open_newest(path: Path, pod_logs: Path) -> int:
    """The log, or the newest rotated one at a moment when there is none."""
    with _directory(path, pod_logs) as directory:
        with suppress(FileNotFoundError):
            return beneath.regular(directory, path.name)
        plain = [n for n in _names(directory, path.name)
                 if _ROTATED.search(n) and not n.endswith(".gz")]  # fmt: skip
        return beneath.regular(directory, max(plain, default=path.name))


def clear(path: Path, pod_logs: Path, policy: RotationPolicy) -> None:
    """Remove what was left half done, and the oldest logs above what may stay."""
    with _directory(path, pod_logs) as directory:
        rotated = []
        for name in _names(directory, path.name):
            if name.endswith(".tmp"):
                os.unlink(name, dir_fd=directory)
            elif _ROTATED.search(name):
                rotated.append(name)
        allowed = policy.max_bytes * policy.max_files
        for number, name in enumerate(sorted(rotated, reverse=True)):
            allowed -= os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
            # One more is about to be made, and the current log counts.
            if number >= max(policy.max_files - 2, 0) or allowed < 0:
                os.unlink(name, dir_fd=directory)


def successor(log_fd: int, path: Path, pod_logs: Path) -> int:
    """The file, opened, that follows the one that is read as `log_fd`; -1 while there is none.

    One that was compressed meanwhile is not there any more: then the oldest that is.
    """
    try:
        with _directory(path, pod_logs) as directory:
            names = [n for n in _names(directory, path.name) if _ROTATED.search(n)]
            plain = [*sorted(n for n in names if not n.endswith(".gz")), path.name]
            inodes = [_inode(directory, name) for name in plain]
            mine = os.fstat(log_fd).st_ino
            following = plain[inodes.index(mine) + 1 :] if mine in inodes else plain
            return beneath.regular(directory, following[0]) if following else -1
    except OSError:
        return -1  # renamed, and the new one is not there yet


def _inode(directory: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return 0


def remove_logs(path: Path, pod_logs: Path) -> None:
    """Remove the log of a container that is gone, and all that rotation made of it."""
    with suppress(OSError), _directory(path, pod_logs) as directory:
        for name in (path.name, *_names(directory, path.name)):
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)


def _names(directory: int, log_name: str) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(f"{log_name}.")]


@contextmanager
def _directory(path: Path, pod_logs: Path) -> Iterator[int]:
    """The directory of a log, held open for reading."""
    relative = path.parent.relative_to(pod_logs)
    with beneath.directory(pod_logs) as root, beneath.directory(relative, beneath=root) as handle:
        fd = beneath.reopen(handle, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


class _Compression:
    """Compresses the rotated logs but the newest, one after the other, in slices."""

    def __init__(self, path: Path, pod_logs: Path) -> None:
        with _directory(path, pod_logs) as directory:
            self._directory = os.dup(directory)
            names = [n for n in _names(directory, path.name) if _ROTATED.search(n)]
        self._pending = [n for n in sorted(names)[:-1] if not n.endswith(".gz")]
        # Who is cancelled closes while a slice may still be under way in another thread.
        self._lock = threading.Lock()
        self._open_now: ExitStack | None = None
        self._source = -1
        self._out: gzip.GzipFile | None = None

    def slice(self) -> bool:
        """A piece of the work; True when all is done."""
        with self._lock:
            return self._slice()

    def _slice(self) -> bool:
        if self._out is None:
            if not self._pending:
                return True
            self._open(self._pending[0])
        assert self._out is not None
        data = os.read(self._source, _SLICE_BYTES)
        if data:
            self._out.write(data)
            return False
        name = self._pending.pop(0)
        self._finish()
        os.rename(f"{name}.tmp", f"{name}.gz",
                  src_dir_fd=self._directory, dst_dir_fd=self._directory)  # fmt: skip
        os.unlink(name, dir_fd=self._directory)
        return False

    def _open(self, name: str) -> None:
        stack = self._open_now = ExitStack()
        self._source = beneath.regular(self._directory, name)
        stack.callback(os.close, self._source)
        raw = os.open(f"{name}.tmp", _NEW_FILE, 0o640, dir_fd=self._directory)
        file = stack.enter_context(os.fdopen(raw, "wb"))
        self._out = stack.enter_context(gzip.GzipFile("", "wb", 6, file))

    def _finish(self) -> None:
        stack, self._open_now, self._out = self._open_now, None, None
        if stack is not None:
            stack.close()

    def close(self) -> None:
        with self._lock:
            try:
                self._finish()
            finally:
                os.close(self._directory)
