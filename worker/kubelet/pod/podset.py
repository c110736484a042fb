"""All pods of this node: starts a worker for each, and ends what should not be here.

Follows upstream's `syncLoop` and `HandlePodCleanups`: the api-server's pods get workers; pods
that only the runtime knows (they were deleted while the kubelet was down) are ended; left
over directories and cgroups are removed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from kube.api import core
from kube.api.meta import ObjectMeta
from kube.client.informer import Informer
from kube.component.log import get_logger
from worker.kubelet import metrics
from worker.kubelet.cri.pleg import Pleg
from worker.kubelet.cri.records import ContainerRecord
from worker.kubelet.cri.runtime import RuntimeFailure
from worker.kubelet.pod import names
from worker.kubelet.pod.podworker import PodWorker
from worker.kubelet.tools import Tools

log = get_logger(__name__)

HOUSEKEEPING_SECONDS = 2.0
# Directories and cgroups of pods that are gone are looked for more rarely.
SWEEP_SECONDS = 60.0


class PodSet:
    def __init__(self, tools: Tools, informer: Informer[core.Pod]) -> None:
        self._tools, self._informer = tools, informer
        self._workers: dict[str, PodWorker] = {}
        self.pleg = Pleg(tools.runtime, self._on_runtime_change)
        informer.add_handler(self._on_pod_event)
        self._swept = 0.0

    # -- what happens outside

    def _on_pod_event(self, kind: str, old: core.Pod | None, new: core.Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            worker = self._workers.get(old.metadata.uid)
            if worker is not None:
                worker.vanish(old)
        if new is not None:
            self._update(new)

    def _update(self, pod: core.Pod) -> None:
        worker = self._workers.get(pod.metadata.uid)
        if worker is None:
            self._add(pod)
        else:
            worker.update(pod)

    def _add(self, pod: core.Pod) -> PodWorker:
        worker = PodWorker(self._tools, pod, self._on_done)
        self._workers[pod.metadata.uid] = worker
        return worker

    def _on_runtime_change(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    def _on_done(self, uid: str) -> None:
        self._workers.pop(uid, None)

    # -- for the server

    def workers(self) -> Iterable[PodWorker]:
        return list(self._workers.values())

    def containers(self) -> Iterator[ContainerRecord]:
        """Of all pods, as the runtime had them last."""
        for worker in self.workers():
            yield from worker.record.containers

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod by name; of namesakes the one that is not on its way out."""
        found = [
            w
            for w in self._workers.values()
            if (w.pod.metadata.namespace, w.pod.metadata.name) == (namespace, name)
        ]
        found.sort(key=lambda w: w.terminating)
        return found[0] if found else None

    # -- keeping the node clean

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pleg.run(), name="pleg")
            tasks.create_task(self._housekeep_forever(), name="housekeeping")

    async def _housekeep_forever(self) -> None:
        # Without the api-server's list nobody can tell a lost pod from a wanted one.
        await self._informer.wait_synced()
        await self.pleg.listed.wait()
        while True:
            self._end_lost_workers()
            try:
                await self._end_unknown()
                if time.monotonic() - self._swept > SWEEP_SECONDS:
                    self._swept = time.monotonic()
                    await self._sweep()
            except (RuntimeFailure, OSError) as error:
                log.warning("housekeeping failed", error=str(error))
            self._count_volumes()
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    def _end_lost_workers(self) -> None:
        """A pod that went while no watch told us."""
        wanted = {pod.metadata.uid for pod in self._informer.values()}
        for uid, worker in self._workers.items():
            if uid not in wanted and not worker.terminating:
                worker.vanish()
        for pod in self._informer.values():
            if pod.metadata.uid not in self._workers and not _is_over(pod):
                self._add(pod)

    async def _end_unknown(self) -> None:
        """Pods that run here and that the api-server does not know."""
        for uid in self.pleg.pods - set(self._workers):
            sandboxes = await self._tools.runtime.list_sandboxes({names.POD_UID: uid})
            if not sandboxes or uid in self._workers:
                continue
            meta = sandboxes[0].metadata
            log.info("ending a pod that the api-server does not know", uid=uid,
                     pod=f"{meta.namespace}/{meta.name}")  # fmt: skip
            self._add(_husk(uid, meta.namespace, meta.name)).vanish()

    async def _sweep(self) -> None:
        known = set(self._workers) | self.pleg.pods
        for uid in self._tools.volumes.pod_dirs():
            if uid not in known:
                await self._tools.volumes.teardown(uid)
                self._tools.users.release(uid)
        for uid, parent in self._tools.cgroups.pods(self._tools.node.shape.cgroup_root):
            if uid not in known and not self._tools.cgroups.remove(parent):
                log.warning("cgroup of a lost pod is still in use", cgroup=parent)

    def _count_volumes(self) -> None:
        plugins = Counter(
            plugin.replace("~", "/")
            for worker in self._workers.values()
            for volume in worker.pod.spec.volumes
            if (plugin := self._tools.volumes.plugin(volume))
        )
        for plugin, number in plugins.items():
            for state in ("desired_state_of_world", "actual_state_of_world"):
                metrics.VOLUMES.labels(plugin, state).set(number)

    async def close(self) -> None:
        """The kubelet ends. Containers and their pods stay as they are."""
        await asyncio.gather(*(worker.stop() for worker in self.workers()))


def _is_over(pod: core.Pod) -> bool:
    """Its worker ended after the deletion; the object waits for somebody's finalizer."""
    return bool(pod.metadata.deletion_timestamp) and bool(pod.metadata.finalizers)


def _husk(uid: str, namespace: str, name: str) -> core.Pod:
    """Just enough of a pod to end it."""
    return core.Pod(metadata=ObjectMeta(uid=uid, namespace=namespace, name=name))
