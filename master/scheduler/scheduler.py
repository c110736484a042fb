"""The scheduler's shell: informers fill the cache and the queue, decisions become bindings.

One decision is taken at a time; bindings run beside it, on what was assumed. A decision that
comes to nothing is given back: the plugins unreserve, the cache forgets, and the pod waits again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime

import msgspec

from kube.api.core import Node, Pod, PodCondition
from kube.client.client import Client
from kube.client.events import NORMAL, WARNING, EventRecorder
from kube.client.informer import Informer
from kube.component.log import get_logger
from kube.machinery.conditions import find, put
from kube.machinery.errors import Conflict, NotFound, StatusError
from kube.machinery.scheme import key_of
from kube.machinery.times import utc_now
from master.scheduler import metrics
from master.scheduler.cache import Cache
from master.scheduler.framework import Decision, Framework, NoBinder, Refusal, explain
from master.scheduler.permits import HeldPod, Permits
from master.scheduler.plugin import (
    NODE_ADD,
    NODE_ALLOCATABLE,
    NODE_LABEL,
    NODE_TAINT,
    POD_ADD,
    POD_DELETE,
    POD_UPDATE,
    Cycle,
    Handle,
    Plugin,
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
        plugins: Sequence[Plugin] | None = None,
    ) -> None:
        self._client, self._recorder, self._now = client, recorder, now
        self._loop = asyncio.get_running_loop()
        self.cache = Cache()
        self._permits = Permits()
        self._framework = Framework(default_plugins() if plugins is None else plugins, rng)
        self._framework.attach(Handle(client, self._permits.held))
        self.queue = SchedulingQueue(self._framework, self._loop.time)
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
        held = self._permits.held.get(pod.metadata.uid)
        if held is not None:
            held.reject("", "the pod was deleted")
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
        try:
            decision = self._framework.schedule(pod, self.cache.nodes())
        except Exception:
            # A plugin's bug that one pod provokes must not stop the work on all others.
            log.exception("scheduling crashed", pod=pod.key)
            metrics.observe_attempt(metrics.ERROR, self._loop.time() - began)
            self.queue.failed(waiting)
            return
        metrics.ALGORITHM.observe(self._loop.time() - began)
        if not decision.node:
            self.queue.unfit(waiting, decision.plugins or frozenset({"NodeName"}))
            metrics.observe_attempt(metrics.UNSCHEDULABLE, self._loop.time() - began)
            self._report(waiting, explain(decision), decision.nominated)
            return
        self.cache.assume(pod, decision.node)
        await self._carry_out(waiting, decision, began)

    async def _carry_out(self, waiting: Waiting, decision: Decision, began: float) -> None:
        """Reserve and ask for permission now; bind beside the next decisions."""
        cycle, node = decision.cycle, decision.node
        try:
            said = self._framework.reserve(cycle, node) or self._framework.permit(cycle, node)
        except Exception as error:
            self._give_back(waiting, cycle, node)
            self._binding_failed(waiting, cycle.pod, node, error, began)
            return
        if isinstance(said, Refusal):
            self._refused(waiting, cycle, node, said, began)
            return
        self.queue.done(waiting)
        if said:
            # It may wait for long, so it takes no binding's place meanwhile.
            held = self._permits.hold(cycle.pod, node, said)
            work = self._bind_when_allowed(waiting, cycle, held, began)
        else:
            await self._slots.acquire()
            work = self._bind(waiting, cycle, node, began)
        self._start(work, f"bind {cycle.pod.key}")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._bindings.add(task)
        task.add_done_callback(self._bindings.discard)

    async def _bind_when_allowed(
        self, waiting: Waiting, cycle: Cycle, held: HeldPod, began: float
    ) -> None:
        refusal = await self._permits.wait(held)
        if refusal is not None:
            self._refused(waiting, cycle, held.node, refusal, began)
            return
        await self._slots.acquire()
        await self._bind(waiting, cycle, held.node, began)

    async def _bind(self, waiting: Waiting, cycle: Cycle, node: str, began: float) -> None:
        pod = cycle.pod
        try:
            refusal = await self._framework.pre_bind(cycle, node)
            if refusal is not None:
                self._refused(waiting, cycle, node, refusal, began)
                return
            await self._framework.bind(cycle, node)
        except (NotFound, Conflict) as error:
            # Gone, or bound already: the watch knows, or will in a moment.
            self._give_back(waiting, cycle, node)
            log.debug("not bound", pod=pod.key, error=str(error))
            self._again(waiting, pod)
        except Exception as error:
            self._give_back(waiting, cycle, node)
            self._binding_failed(waiting, pod, node, error, began)
        else:
            self._bound(waiting, pod, node, began)
            self._framework.post_bind(cycle, node)
        finally:
            self._slots.release()

    def _binding_failed(
        self, waiting: Waiting, pod: PodInfo, node: str, error: Exception, began: float
    ) -> None:
        if isinstance(error, StatusError | NoBinder):
            log.warning("binding failed", pod=pod.key, node=node, error=str(error))
        else:
            log.exception("binding crashed", pod=pod.key, node=node)
        metrics.observe_attempt(metrics.ERROR, self._loop.time() - began)
        why = error.message if isinstance(error, StatusError) else str(error)
        self._recorder.event(pod.pod, WARNING, "FailedScheduling", f"binding rejected: {why}")
        self._again(waiting, pod)

    def _give_back(self, waiting: Waiting, cycle: Cycle, node: str) -> None:
        """Nothing comes of it: others may have the room."""
        self._framework.unreserve(cycle, node)
        self.cache.forget(cycle.pod.uid)
        self.queue.happened(POD_DELETE, by=waiting)
        self._wake.set()

    def _refused(
        self, waiting: Waiting, cycle: Cycle, node: str, refusal: Refusal, began: float
    ) -> None:
        """A plugin said no to the chosen node; its events may change that."""
        self._give_back(waiting, cycle, node)
        metrics.observe_attempt(metrics.UNSCHEDULABLE, self._loop.time() - began)
        newest = self._newest(cycle.pod)
        if newest is None:
            self.queue.done(waiting)
            return
        waiting.pod = newest
        self.queue.unfit(waiting, frozenset({refusal.plugin}))
        self._report(waiting, str(refusal))

    def _again(self, waiting: Waiting, pod: PodInfo) -> None:
        newest = self._newest(pod)
        if newest is not None:
            waiting.pod = newest
            self.queue.failed(waiting)
            self._wake.set()

    def _newest(self, pod: PodInfo) -> Pod | None:
        """As it is now; None when it is gone or has a node."""
        newest = self.pods.get(pod.key)
        if newest is None or newest.metadata.uid != pod.uid or newest.spec.node_name:
            return None
        return newest

    def _bound(self, waiting: Waiting, pod: PodInfo, node: str, began: float) -> None:
        log.info("pod bound", pod=pod.key, node=node, attempts=waiting.attempts)
        now = self._loop.time()
        metrics.observe_attempt(metrics.SCHEDULED, now - began)
        metrics.SLI.labels(attempts=str(waiting.attempts)).observe(now - waiting.since)
        metrics.TRIES.observe(waiting.attempts)
        text = f"Successfully assigned {pod.key} to {node}"
        self._recorder.event(pod.pod, NORMAL, "Scheduled", text)

    def _report(self, waiting: Waiting, message: str, nominated: str = "") -> None:
        self._start(self._tell_why(waiting, message, nominated), f"report {waiting.key}")

    async def _tell_why(self, waiting: Waiting, message: str, nominated: str) -> None:
        """The event and the PodScheduled condition that say why the pod is pending."""
        log.info("pod unschedulable", pod=waiting.key, reason=message)
        self._recorder.event(waiting.pod, WARNING, "FailedScheduling", message)
        pod = with_nominated(with_unschedulable(waiting.pod, message, self._now()), nominated)
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
    """Waits for this scheduler: nobody else's, and not on its way out."""
    spec = pod.spec
    return spec.scheduler_name in ("", SCHEDULER_NAME) and not pod.metadata.deletion_timestamp


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
    old = find(pod.status.conditions, "PodScheduled")
    if old is not None and (old.status, old.message) == ("False", message):
        return pod
    new = PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    conditions = put(pod.status.conditions, new, now)
    status = msgspec.structs.replace(pod.status, conditions=conditions)
    return msgspec.structs.replace(pod, status=status)


def with_nominated(pod: Pod, node: str) -> Pod:
    """`pod` with status.nominatedNodeName; itself when no node was found for it to wait for."""
    if not node or pod.status.nominated_node_name == node:
        return pod
    status = msgspec.structs.replace(pod.status, nominated_node_name=node)
    return msgspec.structs.replace(pod, status=status)
