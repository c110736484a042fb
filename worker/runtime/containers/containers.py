"""Containers: made over an overlay of their image, run under conmon, watched until they end.

    <root>/containers/<id>/   container.json, upper, work         survives a reboot
    <root>/exits/<id>         the exit code, written by conmon
    <state>/containers/<id>/  the OCI bundle: config.json, rootfs  gone after a reboot

conmon and the container do not need us. A restarted runtime finds the living ones by their
conmon, takes the exit code of those that ended meanwhile, and calls the rest exited.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from kube.component.log import get_logger
from kube.files.threads import FileThreads
from kube.stubs.cri import api_pb2 as cri
from worker.runtime import documents
from worker.runtime.containers import conmon
from worker.runtime.containers.bundles import BundleMaker
from worker.runtime.containers.conmon import Monitored
from worker.runtime.containers.layer_usage import LayerUsage, LayerUsages
from worker.runtime.containers.lifecycle import end_reason, end_time, state
from worker.runtime.errors import FailedPrecondition, NotFound, RuntimeFailure
from worker.runtime.images.store import ImageStore
from worker.runtime.oci.cgroups import Cgroups
from worker.runtime.oci.resources import NodeFacts, linux_resources, merged
from worker.runtime.oci.runtime import OciRuntime
from worker.runtime.records import ContainerRecord, SandboxRecord
from worker.runtime.sandboxes.sandboxes import Places, Sandboxes

log = get_logger(__name__)
OnChange = Callable[[ContainerRecord, "cri.ContainerEventType.ValueType"], None]
UNKNOWN_EXIT_CODE = 255
_KILL_SECONDS = 30.0
_LOG_REOPEN_SECONDS = 2.0


@dataclass(slots=True)
class _Running:
    """What this process holds of a container that has not ended."""

    monitor_fd: int
    init_fd: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    # Held while it is being started: a short one's end is told after its start.
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None


class Containers:
    """All containers of this node. Callers serialize the calls on one container."""

    def __init__(
        self,
        places: Places,
        sandboxes: Sandboxes,
        images: ImageStore,
        runtime: OciRuntime,
        conmon_binary: str,
        cgroups: Cgroups,
        facts: NodeFacts,
        on_change: OnChange,
    ) -> None:
        self._places = places
        self._sandboxes = sandboxes
        self._images = images
        self._runtime = runtime
        self._conmon_binary = conmon_binary
        self._cgroups = cgroups
        self._facts = facts
        self._on_change = on_change
        self._bundles = BundleMaker(places, sandboxes, images, facts)
        self._records: dict[str, ContainerRecord] = {}
        self._configs: dict[str, cri.ContainerConfig] = {}
        self._running: dict[str, _Running] = {}
        # What containers leave may be millions of files.
        self._removals = FileThreads("removals", 2)
        self._layer_usages = LayerUsages()

    # ---- Reading

    def all(self) -> tuple[ContainerRecord, ...]:
        return tuple(r for r in self._records.values() if r.complete)

    def of_sandbox(self, sandbox_id: str) -> tuple[ContainerRecord, ...]:
        return tuple(r for r in self._records.values() if r.sandbox_id == sandbox_id)

    def find(self, container_id: str) -> ContainerRecord | None:
        record = self._records.get(container_id)
        return record if record is not None and record.complete else None

    def get(self, container_id: str) -> ContainerRecord:
        record = self.find(container_id)
        if record is None:
            raise NotFound(f'container "{container_id}" not found')
        return record

    def get_running(self, container_id: str) -> ContainerRecord:
        record = self.get(container_id)
        if state(record) != cri.CONTAINER_RUNNING:
            raise FailedPrecondition(f'container "{container_id}" is not running')
        return record

    def config(self, container_id: str) -> cri.ContainerConfig:
        return self._configs[container_id]

    def used_layers(self) -> set[str]:
        return {layer for record in self._records.values() for layer in record.layers}

    def layer_usage(self, container_id: str) -> LayerUsage | None:
        """What it has written into its root file system, as measured lately."""
        return self._layer_usages.ask(container_id, self._dir(container_id) / "upper")

    def monitored(self, record: ContainerRecord) -> Monitored:
        return Monitored(
            container_id=record.id,
            bundle=self.bundle(record.id),
            log_path=Path(record.log_path),
            exit_dir=self._places.exits,
            persist_dir=self._dir(record.id),
        )

    def bundle(self, container_id: str) -> Path:
        return self._places.bundles / container_id

    # ---- At start

    async def restore(self) -> None:
        """Find again what runs; record the end of what does not; remove what was half made."""
        for path in sorted(self._places.containers.iterdir()):
            record = documents.load(path / "container.json", ContainerRecord)
            if record is None or not record.complete:
                log.info("removing a container that was not finished", container=path.name)
                await self._remove_traces(path.name)
                continue
            self._keep(record)
            if not record.finished_at:
                await self._restore_running(record)
        known = {path.name for path in self._places.containers.iterdir()}
        for directory in (self._places.bundles, self._places.exits, self._places.oci_state):
            for path in directory.iterdir():
                if path.name not in known:
                    await self._remove_traces(path.name)

    async def _restore_running(self, record: ContainerRecord) -> None:
        watched = self._watch(record)
        if not watched:
            await self._finish(record.id)
        elif not record.started_at and await self._runtime.status(record.id) == "running":
            # Killed between `start` and the record of it.
            self._save(msgspec.structs.replace(record, started_at=time.time_ns()))

    # ---- Changing

    async def create(
        self, container_id: str, sandbox: SandboxRecord, config: cri.ContainerConfig
    ) -> ContainerRecord:
        image = self._images.get(config.image.image)
        sandbox_config = self._sandboxes.config(sandbox.id)
        log_path = Path(sandbox_config.log_directory or self._dir(container_id))
        record = ContainerRecord(
            id=container_id,
            sandbox_id=sandbox.id,
            config=config.SerializeToString(),
            image_id=image.id,
            image_ref=image.digests[0] if image.digests else image.id,
            layers=tuple(layer.directory for layer in image.layers),
            created_at=time.time_ns(),
            cgroups_path=f"{self._bundles.cgroup_parent(sandbox.id)}/{container_id}",
            log_path=str(log_path / (config.log_path or "log")),
        )
        self._dir(container_id).mkdir(mode=0o700)
        self._save(record)
        try:
            record = await asyncio.to_thread(self._bundles.make, record, config)
            m = self.monitored(record)
            await conmon.create(
                conmon.arguments(
                    self._conmon_binary, self._runtime, m,
                    tty=config.tty, stdin=config.stdin, stdin_once=config.stdin_once,
                ),
                m.bundle,
            )  # fmt: skip
            await asyncio.to_thread(self._bundles.unstage, container_id)
        except OSError as error:
            await self._remove_traces(container_id)
            raise RuntimeFailure(f"container could not be made: {error}") from error
        except BaseException:
            await self._remove_traces(container_id)
            raise
        record = msgspec.structs.replace(record, complete=True)
        self._save(record)
        if not self._watch(record):
            await self._finish(record.id)
        self._on_change(record, cri.CONTAINER_CREATED_EVENT)
        return record

    async def start(self, container_id: str) -> None:
        record, running = self.get(container_id), self._running.get(container_id)
        if running is None or state(record) != cri.CONTAINER_CREATED:
            raise FailedPrecondition(f'container "{container_id}" was started before')
        async with running.starting:
            await self._runtime.start(container_id)
            record = msgspec.structs.replace(self._records[container_id], started_at=time.time_ns())
            self._save(record)
            self._on_change(record, cri.CONTAINER_STARTED_EVENT)

    async def stop(self, container_id: str, timeout: float) -> None:
        """The stop signal, `timeout` seconds of grace, SIGKILL. Ended or gone is fine."""
        record, running = self._records.get(container_id), self._running.get(container_id)
        if record is None or running is None:
            return
        # A process that was created but not started heeds no signal but SIGKILL.
        if timeout > 0 and record.started_at:
            _signal(running.init_fd, signal.Signals[record.stop_signal])
            if await _wait(running.ended, timeout):
                return
        _signal(running.init_fd, signal.SIGKILL)
        if not await _wait(running.ended, _KILL_SECONDS):
            raise RuntimeFailure(f'container "{container_id}" does not end')

    async def remove(self, container_id: str) -> None:
        record = self._records.get(container_id)
        if record is None:
            return
        running = self._running.get(container_id)
        await self.stop(container_id, 0)
        if running is not None and running.task is not None:
            await asyncio.wait({running.task})
        await self._remove_traces(container_id)
        self._on_change(record, cri.CONTAINER_DELETED_EVENT)

    async def update(self, container_id: str, wanted: cri.LinuxContainerResources) -> None:
        record = self.get(container_id)
        config = cri.ContainerConfig()
        config.CopyFrom(self.config(container_id))
        config.linux.resources.CopyFrom(merged(config.linux.resources, wanted))
        if container_id in self._running:
            path = self.bundle(container_id) / "resources.json"
            resources = linux_resources(config.linux.resources, self._facts)
            documents.replace_file(path, msgspec.json.encode(resources))
            await self._runtime.update(container_id, path)
        self._save(msgspec.structs.replace(record, config=config.SerializeToString()))

    async def reopen_log(self, container_id: str) -> None:
        record = self.get_running(container_id)
        conmon.reopen_log(self.monitored(record))
        deadline = time.monotonic() + _LOG_REOPEN_SECONDS
        log_file = Path(record.log_path)
        while not log_file.exists():  # conmon tells nobody
            if time.monotonic() > deadline or container_id not in self._running:
                # It ended just now: what it wrote stays under the name that the log was given.
                raise FailedPrecondition(f'the log of container "{container_id}" has no new file')
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Let go of everything without touching any container."""
        await self._layer_usages.close()
        for running in list(self._running.values()):
            if running.task is not None:
                running.task.cancel()
                await asyncio.gather(running.task, return_exceptions=True)
            _close(running)
        self._running.clear()

    # ---- Watching

    def _watch(self, record: ContainerRecord) -> bool:
        """Follow a container by its conmon; False when there is none (any more)."""
        m = self.monitored(record)
        monitor = conmon.monitor_pid(m)
        if monitor is None:
            return False
        try:
            monitor_fd = os.pidfd_open(monitor)
        except ProcessLookupError:
            return False
        running = _Running(monitor_fd, _init_fd(m, monitor))
        self._running[record.id] = running
        running.task = asyncio.create_task(
            self._follow(record.id, running), name=f"follow container {record.id[:12]}"
        )
        return True

    async def _follow(self, container_id: str, running: _Running) -> None:
        await _readable(running.monitor_fd)
        try:
            async with running.starting:
                self._record_end(container_id)
            running.ended.set()
            await self._release(container_id)
        finally:
            self._running.pop(container_id, None)
            _close(running)
            running.ended.set()

    async def _finish(self, container_id: str) -> None:
        """The same for a container whose end nobody followed."""
        self._record_end(container_id)
        await self._release(container_id)

    def _record_end(self, container_id: str) -> None:
        """Write down how the container ended, while its cgroup can still be asked."""
        record = self._records[container_id]
        m = self.monitored(record)
        code = conmon.exit_code(m)
        kills = self._cgroups.oom_kills(record.cgroups_path)
        oom = m.oom_file.exists() if kills is None else kills > 0
        record = msgspec.structs.replace(
            record,
            finished_at=end_time(_mtime(m.exit_file), record.started_at, time.time_ns()),
            exit_code=UNKNOWN_EXIT_CODE if code is None else code,
            reason=end_reason(code, oom=oom),
            message="" if code is not None else "the exit code was lost with its monitor",
        )
        self._save(record)
        log.info("container ended", container=container_id, code=code, reason=record.reason)
        self._on_change(record, cri.CONTAINER_STOPPED_EVENT)

    async def _release(self, container_id: str) -> None:
        """Free what is left of its processes, its cgroup and its mounts; `remove` tries again."""
        try:
            await self._runtime.delete(container_id)
            await asyncio.to_thread(self._bundles.unmount, container_id)
        except (RuntimeFailure, OSError, TimeoutError) as error:
            log.warning("could not release", container=container_id, error=str(error))

    # ---- Disk

    async def _remove_traces(self, container_id: str) -> None:
        """Remove all there is of a container, in whatever state it was left."""
        record = self._records.get(container_id)
        # A monitor that is still creating would bring back what is removed here.
        await asyncio.to_thread(conmon.end_monitor, self.bundle(container_id), container_id)
        await self._runtime.delete(container_id)
        await asyncio.to_thread(self._bundles.remove, container_id)
        (self._places.exits / container_id).unlink(missing_ok=True)
        if record is not None:
            self._cgroups.remove(record.cgroups_path)
        await self._removals.remove_tree(self._dir(container_id))
        self._records.pop(container_id, None)
        self._configs.pop(container_id, None)
        self._layer_usages.forget(container_id)

    def _save(self, record: ContainerRecord) -> None:
        documents.save(self._dir(record.id) / "container.json", record)
        self._keep(record)

    def _keep(self, record: ContainerRecord) -> None:
        self._records[record.id] = record
        self._configs[record.id] = cri.ContainerConfig.FromString(record.config)

    def _dir(self, container_id: str) -> Path:
        return self._places.containers / container_id


def _init_fd(m: Monitored, monitor: int) -> int:
    """A pidfd of the container's init, which must be a child of its conmon; -1 when it is not."""
    try:
        pid = int(m.pid_file.read_text())
        fd = os.pidfd_open(pid)
    except (OSError, ValueError):
        return -1
    status = Path(f"/proc/{pid}/stat")
    try:
        if int(status.read_text().rpartition(")")[2].split()[1]) == monitor:
            return fd
    except (OSError, ValueError):
        pass
    os.close(fd)
    return -1


def _signal(pidfd: int, number: signal.Signals) -> None:
    if pidfd < 0:
        return
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return


async def _readable(fd: int) -> None:
    """A pidfd becomes readable when its process ends."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _settle, ended)
    try:
        await ended
    finally:
        loop.remove_reader(fd)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _close(running: _Running) -> None:
    for fd in (running.monitor_fd, running.init_fd):
        if fd >= 0:
            os.close(fd)
    running.monitor_fd = running.init_fd = -1


def _mtime(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
