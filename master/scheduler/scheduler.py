"""The scheduler's shell: informers fill the cache and the queue, decisions become bindings.

One decision is taken at a time; bindings run beside it, on what was assumed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from datetime import datetime

import msgspec

from kube.api.core import Node, Pod, PodCondition
from kube.client.client import Client
from kube.client.events import NORMAL, WARNING, EventRecorder
from kube.client.informer import Informer
from kube.component.log import get_logger
from kube.machinery.errors import Conflict, NotFound, StatusError
from kube.machinery.scheme import key_of
from kube.machinery.times import format_time, utc_now
from master.scheduler import metrics
from master.scheduler.cache import Cache
from master.scheduler.framework import (
    NODE_ADD,
    NODE_ALLOCATABLE,
    NODE_LABEL,
    NODE_TAINT,
    POD_ADD,
    POD_DELETE,
    POD_UPDATE,
    Decision,
    Framework,
    explain,
)
from master.scheduler.plugins import default_plugins
from master.scheduler.podinfo import PodInfo, pod_info
from master.scheduler.queue import SchedulingQueue, Waiting

log = get_logger(__name__)
SCHEDULER_NAME = "default-scheduler"
CONCURRENT_BINDINGS = 100


class Scheduler:
    def __init__(
        self,
        client: Client,
        recorder: EventRecorder,
        rng: random.Random,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client, self._recorder, self._now = client, recorder, now
        self._loop = asyncio.get_running_loop()
        plugins = default_plugins()
        cures = {plugin.name: plugin.events for plugin in plugins}
        self.cache = Cache()
        self.queue = SchedulingQueue(lambda name: cures[name], self._loop.time)
        self._framework = Framework(plugins, rng)
        self._wake = asyncio.Event()
        self._bindings: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CONCURRENT_BINDINGS)
        self.pods = Informer(client, Pod)
        self.nodes = Informer(client, Node)
        self.pods.add_handler(self._on_pod)
        self.nodes.add_handler(self._on_node)

    # -- events

    def _on_node(self, kind: str, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self.cache.remove_node(old.metadata.name)
            return
        self.cache.set_node(new)
        for event in node_events(old, new):
            self._happened(event)

    def _on_pod(self, kind: str, old: Pod | None, new: Pod | None) -> None:
        if new is None or _is_finished(new):
            pod = new or old
            assert pod is not None
            self._pod_left(pod)
        elif new.spec.node_name:
            fresh = not self.cache.knows(new.metadata.uid)
            self.queue.remove(key_of(new))
            self.cache.set_pod(new)
            self._happened(POD_ADD if fresh else POD_UPDATE)
        elif is_ours(new):
            if old is not None and old.metadata.uid != new.metadata.uid:
                self.queue.remove(key_of(new))
            if not self.cache.is_assumed(new.metadata.uid):
                self.queue.add(new)
                self._wake.set()
        else:
            self.queue.remove(key_of(new))

    def _pod_left(self, pod: Pod) -> None:
        self.queue.remove(key_of(pod))
        if self.cache.knows(pod.metadata.uid):
            self.cache.remove_pod(pod.metadata.uid)
            self._happened(POD_DELETE)

    def _happened(self, event: str) -> None:
        self.queue.happened(event)
        self._wake.set()

    # -- decisions

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pods.run(), name="informer pods")
            tasks.create_task(self.nodes.run(), name="informer nodes")
            tasks.create_task(self._schedule_all(), name="scheduling")

    async def _schedule_all(self) -> None:
        # Deciding on half a cluster would put everything on the nodes that came first.
        await self.nodes.wait_synced()
        await self.pods.wait_synced()
        while True:
            self._wake.clear()
            waiting = self.queue.pop()
            self._measure()
            if waiting is None:
                await self._sleep()
                continue
            await self._attempt(waiting)
            await asyncio.sleep(0)  # let bindings and watches have their turn

    async def _sleep(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.queue.next_ripe()):
                await self._wake.wait()

    async def _attempt(self, waiting: Waiting) -> None:
        if waiting.pod.metadata.deletion_timestamp:
            self.queue.done(waiting)
            return
        began = self._loop.time()
        pod = pod_info(waiting.pod)
        decision = self._framework.schedule(pod, self.cache.nodes())
        metrics.ALGORITHM.observe(self._loop.time() - began)
        if not decision.node:
            self.queue.unfit(waiting, decision.plugins or frozenset({"NodeName"}))
            metrics.observe_attempt(metrics.UNSCHEDULABLE, self._loop.time() - began)
            self._start(self._report_unfit(waiting, decision), f"report {pod.key}")
            return
        self.cache.assume(pod, decision.node)
        self.queue.done(waiting)
        await self._slots.acquire()
        self._start(self._bind(waiting, pod, decision.node, began), f"bind {pod.key}")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._bindings.add(task)
        task.add_done_callback(self._bindings.discard)

    async def _bind(self, waiting: Waiting, pod: PodInfo, node: str, began: float) -> None:
        try:
            await self._client.bind(pod.namespace, pod.pod.metadata.name, node, pod.uid)
        except (NotFound, Conflict) as error:
            # Gone, or bound already: the watch knows, or will in a moment.
            self.cache.forget(pod.uid)
            log.debug("not bound", pod=pod.key, error=str(error))
            self._again(waiting, pod)
        except StatusError as error:
            self.cache.forget(pod.uid)
            log.warning("binding failed", pod=pod.key, node=node, error=str(error))
            metrics.observe_attempt(metrics.ERROR, self._loop.time() - began)
            text = f"binding rejected: {error.message}"
            self._recorder.event(pod.pod, WARNING, "FailedScheduling", text)
            self._again(waiting, pod)
        else:
            self._bound(waiting, pod, node, began)
        finally:
            self._slots.release()

    def _again(self, waiting: Waiting, pod: PodInfo) -> None:
        newest = self.pods.get(pod.key)
        if newest is not None and newest.metadata.uid == pod.uid and not newest.spec.node_name:
            waiting.pod = newest
            self.queue.failed(waiting)
            self._wake.set()

    def _bound(self, waiting: Waiting, pod: PodInfo, node: str, began: float) -> None:
        log.info("pod bound", pod=pod.key, node=node, attempts=waiting.attempts)
        now = self._loop.time()
        metrics.observe_attempt(metrics.SCHEDULED, now - began)
        metrics.SLI.labels(attempts=str(waiting.attempts)).observe(now - waiting.since)
        metrics.TRIES.observe(waiting.attempts)
        text = f"Successfully assigned {pod.key} to {node}"
        self._recorder.event(pod.pod, NORMAL, "Scheduled", text)

    async def _report_unfit(self, waiting: Waiting, decision: Decision) -> None:
        """The event and the PodScheduled condition that say why the pod is pending."""
        message = explain(decision)
        log.info("pod unschedulable", pod=waiting.key, reason=message)
        self._recorder.event(waiting.pod, WARNING, "FailedScheduling", message)
        pod = with_unschedulable(waiting.pod, message, self._now())
        if pod is waiting.pod:
            return
        try:
            await self._client.update_status(pod)
        except (NotFound, Conflict):
            return  # a newer pod is on its way to the queue
        except StatusError as error:
            log.warning("condition not written", pod=waiting.key, error=str(error))

    def _measure(self) -> None:
        for queue, length in self.queue.lengths().items():
            metrics.PENDING.labels(queue=queue).set(length)
        metrics.CACHE_SIZE.labels(type="nodes").set(len(self.cache.nodes()))


def is_ours(pod: Pod) -> bool:
    """Waits for this scheduler: nobody else's, not gated, not on its way out."""
    spec = pod.spec
    return (
        spec.scheduler_name in ("", SCHEDULER_NAME)
        and not spec.scheduling_gates
        and not pod.metadata.deletion_timestamp
    )


def _is_finished(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def node_events(old: Node | None, new: Node) -> list[str]:
    """What a change of a node may make possible. A heartbeat is none of it."""
    if old is None:
        return [NODE_ADD]
    events = []
    if old.status.allocatable != new.status.allocatable:
        events.append(NODE_ALLOCATABLE)
    if old.metadata.labels != new.metadata.labels:
        events.append(NODE_LABEL)
    if (old.spec.taints, old.spec.unschedulable) != (new.spec.taints, new.spec.unschedulable):
        events.append(NODE_TAINT)
    return events


def with_unschedulable(pod: Pod, message: str, now: datetime) -> Pod:
    """`pod` with PodScheduled False and the reasons; itself when it says so already."""
    old = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    if old is not None and (old.status, old.message) == ("False", message):
        return pod
    kept = old is not None and old.status == "False"
    condition = PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message=message,
        last_transition_time=old.last_transition_time if old and kept else format_time(now),
    )  # fmt: skip
    others = tuple(c for c in pod.status.conditions if c.type != "PodScheduled")
    status = msgspec.structs.replace(pod.status, conditions=(*others, condition))
    return msgspec.structs.replace(pod, status=status)
