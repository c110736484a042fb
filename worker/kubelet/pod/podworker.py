"""One task per pod: look at the runtime, decide, act, report; until the pod is gone.

The loop is level-triggered. It is woken by changes of the pod, by the runtime's events, by
probes and by timers, and each time it starts from what is there. A deletion interrupts
whatever the worker is doing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import msgspec

from kube.api import core
from kube.component.log import get_logger
from kube.machinery import errors
from kube.machinery.qos import qos_class
from worker.kubelet import metrics
from worker.kubelet.cri.inspect import inspect
from worker.kubelet.cri.records import PodRecord, State
from worker.kubelet.cri.runtime import RuntimeFailure
from worker.kubelet.node.eviction import EVICTED
from worker.kubelet.pod import names
from worker.kubelet.pod.admission import Refusal
from worker.kubelet.pod.backoff import BackOff, advance
from worker.kubelet.pod.podactions import Hold, Plan, Start, View, pod_actions
from worker.kubelet.pod.podops import PodOps, StartProblem
from worker.kubelet.pod.podstatus import Facts, pod_status
from worker.kubelet.pod.prober import PodProber
from worker.kubelet.pod.probes import Kind
from worker.kubelet.pod.statuses import merge
from worker.kubelet.tools import Tools
from worker.kubelet.volumes.payload import VolumeError

log = get_logger(__name__)

# Steps that one wake may take before others get their turn.
MAX_STEPS = 20
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
# How soon a pod follows a change of its configMaps and secrets, and how often it looks anyway.
RESYNC_SECONDS = 60.0
# What `kubectl delete --force` leaves a container for its end.
FORCED_GRACE_SECONDS = 2
# An evicted pod is in the way of others (upstream's immediateEvictionGracePeriodSeconds).
EVICTION_GRACE_SECONDS = 1.0
# A missing configMap is looked for again at this pace; nothing was tried that could hurt.
CONFIG_ERROR, CONFIG_RETRY_SECONDS = "CreateContainerConfigError", 3.0
SANDBOX_ERRORS = ("CreateContainerError", "RunContainerError")
_TERMINAL = ("Succeeded", "Failed")


class PodWorker:
    """Runs one pod. `on_done(uid)` is called when nothing of it is left on this node."""

    def __init__(self, tools: Tools, pod: core.Pod, on_done: Callable[[str], None]) -> None:
        self._tools, self._ops = tools, PodOps(tools)
        self._pod = pod  # as the api-server has it
        self._status = pod.status  # as we last reported it
        self._on_done = on_done
        self._gone = False  # the api-server has it no more
        self._wake, self._interrupt = asyncio.Event(), asyncio.Event()
        self._backoffs: dict[str, BackOff] = {}
        self._image_backoffs: dict[str, BackOff] = {}
        self._holds: dict[str, Hold] = {}
        self._failures = 0
        self._refresh_at = 0.0
        self._seen_at = time.monotonic()
        self._began = bool(pod.status.container_statuses)
        self._admitted = False
        self._evicted: Refusal | None = None
        self._prober = PodProber(tools.runtime, tools.session, self._wake.set, self._unhealthy)
        self.record = PodRecord(pod.metadata.uid)
        self.task = asyncio.create_task(self._run(), name=f"pod-{names.pod_key(pod)}")

    # -- what the outside tells

    @property
    def pod(self) -> core.Pod:
        """The pod with the newest status that we know."""
        return msgspec.structs.replace(self._pod, status=merge(self._pod.status, self._status))

    @property
    def cgroup(self) -> str:
        return self._ops.parent(self.pod)

    @property
    def terminating(self) -> bool:
        return self._gone or bool(self._pod.metadata.deletion_timestamp)

    @property
    def is_over(self) -> bool:
        """It has failed or succeeded, or is about to for the node's sake."""
        return self._evicted is not None or self._status.phase in _TERMINAL

    @property
    def grace_seconds(self) -> int:
        """How long the end may take. Only force removes a pod from the api-server before that."""
        grace = names.grace_seconds(self._pod)
        return min(grace, FORCED_GRACE_SECONDS) if self._gone else grace

    def wake(self) -> None:
        self._wake.set()

    def update(self, pod: core.Pod) -> None:
        before = (self.terminating, names.grace_seconds(self._pod))
        self._pod = pod
        sooner = self.terminating and names.grace_seconds(pod) < before[1]
        if (self.terminating and not before[0]) or sooner:
            self._interrupt.set()
        self._wake.set()

    def vanish(self, last: core.Pod | None = None) -> None:
        """The pod is gone from the api-server: end it here too, and tell nobody."""
        was, grace = self.terminating, self.grace_seconds
        self._pod, self._gone = last or self._pod, True
        if not was or self.grace_seconds < grace:
            self._interrupt.set()
        self._wake.set()

    def evict(self, why: Refusal) -> None:
        """End the pod for good, though it stays in the api-server: the node needs its room."""
        self._evicted = why
        self._interrupt.set()
        self._wake.set()

    async def stop(self) -> None:
        """The kubelet ends; the containers stay."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self._prober.close()

    # -- the loop

    async def _run(self) -> None:
        done = False
        while not done:
            self._wake.clear()
            self._interrupt.clear()
            operation = "terminate" if self.terminating else "sync"
            began = time.monotonic()
            step = asyncio.create_task(self._step(), name=f"{operation}-{names.pod_key(self._pod)}")
            done, pause = await self._interruptible(step)
            metrics.POD_WORKER.labels(operation).observe(time.monotonic() - began)
            if not done:
                await self._sleep(pause)
        self._prober.close()
        self._on_done(self._pod.metadata.uid)

    async def _interruptible(self, step: asyncio.Task[tuple[bool, float]]) -> tuple[bool, float]:
        """The step's result; or cut it short when the pod is to end (sooner) meanwhile."""
        alarm = asyncio.create_task(self._interrupt.wait())
        try:
            await asyncio.wait({step, alarm}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
                return False, 0.0
            return step.result()
        finally:
            alarm.cancel()
            if not step.done():
                step.cancel()

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _step(self) -> tuple[bool, float]:
        """(everything is done, seconds until the next look)."""
        try:
            if self.terminating:
                await self._terminate()
                return True, 0.0
            pause = await self._sync()
            self._failures = 0
            return False, pause
        except (RuntimeFailure, VolumeError, OSError, errors.StatusError) as error:
            return False, self._failed(error)
        except ExceptionGroup as group:
            return False, self._failed(group.exceptions[0])
        except Exception as error:
            # A fault of ours with one pod must not end its worker, let alone the others'.
            log.exception("pod sync broke", pod=names.pod_key(self._pod))
            return False, self._failed(error)

    def _failed(self, error: Exception) -> float:
        delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        log.warning(
            "pod sync failed", pod=names.pod_key(self._pod), error=str(error), retry_in=delay
        )
        if isinstance(error, VolumeError):
            self._ops.event(self._pod, "Warning", "FailedMount", str(error))
        # A wake before the delay is over would turn a broken pod into a busy loop.
        self._wake.clear()
        return delay

    async def _look(self) -> PodRecord:
        tools, uid = self._tools, self._pod.metadata.uid
        self.record = await inspect(tools.runtime, tools.files, uid, tools.node.runtime_name)
        self._prober.sync(self.pod, self.record, self.terminating)
        return self.record

    # -- a pod that is wanted

    async def _sync(self) -> float:
        """Work until there is nothing to do; returns when to look again."""
        for _ in range(MAX_STEPS):
            self._wake.clear()
            record, now = await self._look(), time.time()
            if self._status.phase not in _TERMINAL and (why := await self._verdict(record)):
                self._fail(why)
            plan = pod_actions(self.pod, record, self._view(), now)
            self._report(record, plan)
            if not plan.has_work:
                if self._status.reason == EVICTED and record.containers:
                    await self._ops.reclaim(self.pod, record)
                await self._ops.prune(record)
                await self._refresh(now)
                return self._pause(plan, now)
            await self._perform(plan, record)
        return 0.0

    async def _verdict(self, record: PodRecord) -> Refusal | None:
        """Why this pod may not run here (any more): it was never let in, or is evicted."""
        if self._evicted or self._admitted:
            return self._evicted
        gate, pod = self._tools.gate, self.pod
        if record.sandboxes or self._began:
            gate.hold(pod)  # let in by the kubelet before us; a restart harms nobody
        elif refused := await gate.admit(pod):
            self._ops.event(pod, "Warning", refused.reason, refused.message)
            return replace(refused, message=f"Pod was rejected: {refused.message}")
        self._admitted = True
        return None

    def _fail(self, why: Refusal) -> None:
        log.info("pod failed", pod=names.pod_key(self._pod), reason=why.reason, why=why.message)
        self._publish(
            msgspec.structs.replace(
                self._status,
                phase="Failed",
                reason=why.reason,
                message=why.message,
                qos_class=self._status.qos_class or qos_class(self._pod.spec),
            )
        )

    def _view(self) -> View:
        return View(
            started=self._prober.started(),
            liveness_failed=self._prober.failed(Kind.LIVENESS),
            startup_failed=self._prober.failed(Kind.STARTUP),
            backoffs=self._backoffs,
            holds=self._holds,
        )

    def _pause(self, plan: Plan, now: float) -> float:
        pause = RESYNC_SECONDS if plan.wake_at is None else max(plan.wake_at - now, 0.05)
        deadline = self._pod.spec.active_deadline_seconds
        if deadline is not None and self._status.start_time:
            started = datetime.fromisoformat(self._status.start_time).timestamp()
            pause = min(pause, max(started + deadline - now, 0.05))
        return pause

    async def _refresh(self, now: float) -> None:
        """Let configMap, secret and downward volumes follow their sources now and then."""
        if now >= self._refresh_at and self._status.phase not in _TERMINAL:
            await self._ops.refresh_volumes(self.pod)
            self._refresh_at = now + RESYNC_SECONDS

    async def _perform(self, plan: Plan, record: PodRecord) -> None:
        pod = self.pod
        if plan.kill_pod:
            if plan.create_sandbox is not None and record.sandboxes:
                text = "Pod sandbox changed, it will be killed and re-created."
                self._ops.event(pod, "Normal", "SandboxChanged", text)
            grace = EVICTION_GRACE_SECONDS if self._evicted else names.grace_seconds(pod)
            await self._ops.kill_pod(pod, record, grace)
        for kill in plan.kills:
            log.info("killing container", pod=names.pod_key(pod), why=kill.message)
            await self._ops.kill(pod, record, kill)
        if plan.create_sandbox is not None:
            await self._ops.prepare(pod)
            self._refresh_at = time.time() + RESYNC_SECONDS
            await self._ops.create_sandbox(pod, plan.create_sandbox)
            # What failed inside the old sandbox says nothing about this one.
            self._holds = {n: h for n, h in self._holds.items() if h.reason not in SANDBOX_ERRORS}
            log.info("sandbox created", pod=names.pod_key(pod), attempt=plan.create_sandbox)
        for start in plan.starts:
            await self._start(pod, start, record)

    async def _start(self, pod: core.Pod, start: Start, record: PodRecord) -> None:
        name, now = start.container.name, time.time()
        sandbox = record.sandbox
        assert sandbox is not None, "containers start only in a sandbox"
        try:
            await self._ops.start(pod, start, sandbox)
        except StartProblem as problem:
            self._hold(name, problem)
        else:
            self._holds.pop(name, None)
            self._image_backoffs.pop(name, None)
            if start.previous is not None and start.previous.state is State.EXITED:
                before = self._backoffs.get(name)
                self._backoffs[name] = advance(before, start.previous.finished_at, now)
            log.info("container started", pod=names.pod_key(pod), container=name,
                     attempt=start.attempt)  # fmt: skip

    def _hold(self, name: str, problem: StartProblem) -> None:
        """Keep the container back for a while; the status first says what happened."""
        now = time.time()
        if problem.reason == CONFIG_ERROR:
            delay = CONFIG_RETRY_SECONDS
        else:
            backoff = advance(self._image_backoffs.get(name), now, now)
            self._image_backoffs[name], delay = backoff, backoff.delay
        self._holds[name] = Hold(now + delay, problem.reason, problem.message)
        log.warning("container not started", pod=names.pod_key(self._pod), container=name,
                    reason=problem.reason, error=problem.message)  # fmt: skip

    # -- reporting

    def _report(self, record: PodRecord, plan: Plan) -> None:
        if self._never_ran(record):
            return
        for name, waiting in plan.waiting.items():
            if waiting.reason == "CrashLoopBackOff" and not self._shows(name, waiting.reason):
                meta = self._pod.metadata
                where = f"{meta.name}_{meta.namespace}({meta.uid})"
                text = f"Back-off restarting failed container {name} in pod {where}"
                self._ops.event(self._pod, "Warning", "BackOff", text)
        phase = self._status.phase if self._status.phase in _TERMINAL else ""
        reason, message = (self._status.reason, self._status.message) if phase else ("", "")
        if plan.deadline_exceeded or plan.lost:
            phase = phase or "Failed"
        if plan.deadline_exceeded:
            reason = "DeadlineExceeded"
            message = "Pod was active on the node longer than the specified deadline"
        facts = Facts(
            host_ip=self._tools.node.ip,
            now=time.time(),
            started=self._prober.started(),
            ready=self._prober.ready(),
            waiting=plan.waiting,
            phase=phase,
            reason=reason,
            message=message,
        )
        self._publish(pod_status(self.pod, record, facts))
        self._soften_holds()

    def _never_ran(self, record: PodRecord) -> bool:
        """Refused before it had containers: there is nothing more to tell than why."""
        status = self._status
        return status.phase in _TERMINAL and not record.containers and not status.container_statuses

    def _soften_holds(self) -> None:
        """After `ErrImagePull` was shown once, the rest of the wait is `ImagePullBackOff`."""
        for name, hold in self._holds.items():
            if hold.reason == "ErrImagePull" and self._shows(name, hold.reason):
                spec = next(c for c in (*self._pod.spec.containers, *self._pod.spec.init_containers)
                            if c.name == name)  # fmt: skip
                text = f'Back-off pulling image "{spec.image}": ErrImagePull: {hold.message}'
                self._holds[name] = replace(hold, reason="ImagePullBackOff", message=text)
                self._ops.event(
                    self._pod, "Normal", "BackOff", f'Back-off pulling image "{spec.image}"'
                )

    def _shows(self, name: str, reason: str) -> bool:
        """Whether the reported status already gives this reason for the container's waiting."""
        every = (*self._status.init_container_statuses, *self._status.container_statuses)
        return any(
            s.name == name and s.state and s.state.waiting and s.state.waiting.reason == reason
            for s in every
        )

    def _publish(self, status: core.PodStatus) -> None:
        self._status = status
        self._tools.statuses.publish(self._pod, status)
        if status.phase in _TERMINAL:
            self._tools.gate.release(self._pod.metadata.uid)
        if status.phase == "Running" and not self._began:
            self._began = True
            metrics.POD_START.observe(time.monotonic() - self._seen_at)
            created = datetime.fromisoformat(self._pod.metadata.creation_timestamp).timestamp()
            metrics.POD_START_SLI.observe(max(time.time() - created, 0.0))

    def _unhealthy(self, container: str, kind: Kind, message: str) -> None:
        text = f"{kind} probe failed: {message}"
        self._ops.event(self._pod, "Warning", "Unhealthy", text)

    # -- a pod that is to go

    async def _terminate(self) -> None:
        """Kill, report the end, clean up, and only then let the api-server forget the pod."""
        record = await self._look()
        if record.alive:
            grace = self.grace_seconds
            log.info("terminating pod", pod=names.pod_key(self._pod), grace_seconds=grace)
            await self._ops.kill_pod(self._pod, record, float(grace))
            record = await self._look()
        if not self._gone and not self._never_ran(record):
            phase = self._status.phase if self._status.phase in _TERMINAL else ""
            facts = Facts(host_ip=self._tools.node.ip, now=time.time(), phase=phase, ending=True)
            self._publish(pod_status(self.pod, record, facts))
        await self._ops.clean(self.pod, record)
        if not self._gone:
            await self._tools.statuses.flush(self._pod.metadata.uid)
            await self._delete()
        self._tools.statuses.forget(self._pod.metadata.uid)
        self._tools.gate.release(self._pod.metadata.uid)
        log.info("pod removed", pod=names.pod_key(self._pod))

    async def _delete(self) -> None:
        """Let the api-server remove the object; finalizers of others may still hold it."""
        meta = self._pod.metadata
        try:
            await self._tools.client.delete(
                core.Pod, meta.name, meta.namespace, uid=meta.uid, grace_period_seconds=0
            )
        except (errors.NotFound, errors.Conflict):
            log.debug("pod is gone already", pod=names.pod_key(self._pod))
