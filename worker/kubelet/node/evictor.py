"""Measures what pods use of this node, and ends those that use too much (see `eviction`).

Nothing is measured on the event loop. Only pods that have limits are measured regularly; all of
them, when the node runs short. Each is measured by itself, a few at a time, and the longer that
took, the longer until the next time: a tree of millions of files delays nobody's turn but its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from kube.api import core
from kube.api.meta import ObjectMeta
from kube.component.log import get_logger
from kube.files.usage import used_bytes
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.cri.runtime import RuntimeFailure
from worker.kubelet.node import machine
from worker.kubelet.node.eviction import (
    DEFAULT_THRESHOLDS,
    EVICTED,
    Observation,
    PodUsage,
    Pressures,
    Shortage,
    Threshold,
    disk_volumes,
    is_limited,
    over_limit,
    shortage_message,
    shortages,
    worst,
)
from worker.kubelet.pod import names
from worker.kubelet.pod.admission import Refusal
from worker.kubelet.pod.podset import PodSet
from worker.kubelet.pod.podworker import PodWorker
from worker.kubelet.tools import Tools

log = get_logger(__name__)
MEASURES_AT_ONCE = 4
MEASURE_SECONDS = 120.0
# Of the time, at most this part is spent on measuring one pod.
MEASURE_SHARE = 0.25
# Until a pod that was evicted for the node's sake is gone, the next one is not chosen.
CLEANUP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class EvictionSettings:
    thresholds: tuple[Threshold, ...] = DEFAULT_THRESHOLDS
    interval_seconds: float = 10.0
    transition_seconds: float = 300.0


@dataclass(slots=True)
class _Measured:
    usage: PodUsage = field(default_factory=PodUsage)
    known: bool = False
    next_at: float = 0.0
    task: asyncio.Task[None] | None = None


class Evictor:
    def __init__(
        self,
        tools: Tools,
        podset: PodSet,
        size: machine.Machine,
        root: Path,
        settings: EvictionSettings,
        pressures: Pressures,
        on_change: Callable[[], None],
    ) -> None:
        self._tools, self._podset, self._size = tools, podset, size
        self._root, self._settings = root, settings
        self._pressures, self._on_change = pressures, on_change
        self._measured: dict[str, _Measured] = {}
        self._slots = asyncio.Semaphore(MEASURES_AT_ONCE)
        self._victim: tuple[PodWorker, float] | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    await self._look(tasks)
                except (OSError, RuntimeFailure) as error:
                    log.warning("eviction look failed", error=str(error))
                except Exception:
                    # A fault of ours must not end the kubelet, and all pods' care with it.
                    log.exception("eviction look broke")
                await asyncio.sleep(self._settings.interval_seconds)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        now, before = time.monotonic(), self._pressures()
        seen = await asyncio.to_thread(self._observe)
        found = shortages(self._settings.thresholds, seen)
        self._pressures.observe(found, now)
        if self._pressures() != before:
            log.info("node pressure", conditions=self._pressures())
            self._on_change()
        workers = [w for w in self._podset.workers() if not (w.terminating or w.is_over)]
        wanted = [w for w in workers if found or is_limited(w.pod)]
        self._forget({w.pod.metadata.uid for w in wanted})
        if not wanted:
            return
        layers, memory = _by_pod(await self._tools.runtime.container_stats())
        for worker in wanted:
            self._measure(worker, layers.get(worker.pod.metadata.uid, {}), tasks, now)
        if not self._enforce_limits(wanted):
            self._relieve(wanted, found, memory, now)

    def _observe(self) -> dict[str, Observation]:
        """What the node has left. Blocks for a moment."""
        disk = machine.disk(self._root)
        tasks, most = machine.pids_used(self._size.pids)
        capacity = self._size.memory_bytes
        return {
            "memory.available": Observation(machine.memory_available(capacity), capacity),
            "nodefs.available": Observation(disk.available, disk.capacity),
            "nodefs.inodesFree": Observation(disk.inodes_free, disk.inodes),
            "pid.available": Observation(most - tasks, most),
        }

    # -- measuring

    def _forget(self, wanted: set[str]) -> None:
        for uid in set(self._measured) - wanted:
            if (task := self._measured.pop(uid).task) is not None:
                task.cancel()

    def _measure(
        self, worker: PodWorker, layers: dict[str, int], tasks: asyncio.TaskGroup, now: float
    ) -> None:
        pod = worker.pod
        entry = self._measured.setdefault(pod.metadata.uid, _Measured())
        if entry.task is None and now >= entry.next_at:
            name = f"measure-{pod.metadata.name}"
            entry.task = tasks.create_task(self._measure_one(pod, layers, entry), name=name)

    async def _measure_one(self, pod: core.Pod, layers: dict[str, int], entry: _Measured) -> None:
        meta, began = pod.metadata, time.monotonic()
        logs = names.pod_log_dir(self._tools.node.pod_logs, meta.namespace, meta.name, meta.uid)
        volumes = {v.name: self._tools.volumes.path(pod, v) for v in pod.spec.volumes
                   if v.name in disk_volumes(pod)}  # fmt: skip
        containers = {c.name: logs / c.name for c in (*pod.spec.init_containers,
                                                      *pod.spec.containers)}  # fmt: skip
        try:
            async with self._slots:
                began = time.monotonic()
                used = await used_bytes([*volumes.values(), *containers.values()], MEASURE_SECONDS)
            if used is None:
                log.warning("pod takes too long to measure", pod=names.pod_key(pod))
                return
            entry.usage = PodUsage(
                {name: used.get(path, 0) for name, path in volumes.items()},
                {name: used.get(path, 0) + layers.get(name, 0)
                 for name, path in containers.items()},
            )  # fmt: skip
            entry.known = True
        except (OSError, ValueError) as error:
            log.warning("pod not measured", pod=names.pod_key(pod), error=str(error))
        finally:
            ended = time.monotonic()
            entry.next_at = ended + (ended - began) * (1 / MEASURE_SHARE - 1)
            entry.task = None

    # -- ending

    def _enforce_limits(self, workers: list[PodWorker]) -> bool:
        """End every pod that is over a limit of its own; True when there was one."""
        evicted = False
        for worker in workers:
            entry = self._measured[worker.pod.metadata.uid]
            why = over_limit(worker.pod, entry.usage) if entry.known else None
            if why is not None:
                self._evict(worker, why)
                evicted = True
        return evicted

    def _relieve(
        self,
        workers: list[PodWorker],
        found: tuple[Shortage, ...],
        memory: dict[str, dict[str, int]],
        now: float,
    ) -> None:
        """One pod at a time: what it leaves may be enough. Tasks are bounded in each pod."""
        if self._victim is not None:
            worker, deadline = self._victim
            if worker.record.containers and now < deadline:
                return
            self._victim = None
        for shortage in found:
            usages = {
                w.pod.metadata.uid: replace(
                    self._measured[w.pod.metadata.uid].usage,
                    memory=memory.get(w.pod.metadata.uid, {}),
                )
                for w in workers
                if self._measured[w.pod.metadata.uid].known
            }
            known = [w for w in workers if w.pod.metadata.uid in usages]
            pairs = [(w.pod, usages[w.pod.metadata.uid]) for w in known]
            if shortage.condition == "PIDPressure" or not known:
                continue
            if (victim := worst(pairs, shortage.resource)) is None:
                continue
            self._announce(shortage)
            uid = victim.metadata.uid
            worker = next(w for w in known if w.pod.metadata.uid == uid)
            self._evict(worker, Refusal(EVICTED, shortage_message(victim, usages[uid], shortage)))
            self._victim = worker, now + CLEANUP_SECONDS
            return

    def _announce(self, shortage: Shortage) -> None:
        node = core.Node(metadata=ObjectMeta(name=self._tools.node.name, uid=self._tools.node.name))
        text = f"Attempting to reclaim {shortage.resource}"
        self._tools.events.event(node, "Warning", "EvictionThresholdMet", text)

    def _evict(self, worker: PodWorker, why: Refusal) -> None:
        log.warning("evicting pod", pod=names.pod_key(worker.pod), why=why.message)
        self._tools.events.event(worker.pod, "Warning", why.reason, why.message)
        worker.evict(why)


Sizes = dict[str, dict[str, int]]


def _by_pod(stats: list[cri.ContainerStats]) -> tuple[Sizes, Sizes]:
    """(bytes of writable layers, of memory) by pod and container."""
    layers: Sizes = {}
    memory: Sizes = {}
    for item in stats:
        labels = item.attributes.labels
        uid, name = labels.get(names.POD_UID, ""), labels.get(names.CONTAINER_NAME, "")
        layers.setdefault(uid, {})[name] = item.writable_layer.used_bytes.value
        memory.setdefault(uid, {})[name] = item.memory.working_set_bytes.value
    return layers, memory
