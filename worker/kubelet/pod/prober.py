"""Runs the probes of the containers that live: one task per container and kind of probe."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from kube.api import core
from kube.component.log import get_logger
from worker.kubelet import metrics
from worker.kubelet.cri.records import ContainerRecord, PodRecord
from worker.kubelet.cri.runtime import Runtime
from worker.kubelet.pod.handlers import Target, run_probe
from worker.kubelet.pod.probes import (
    Kind,
    Outcome,
    ProbeState,
    Result,
    Settings,
    first_delay,
    is_quick_repeat,
    next_delay,
    probe_of,
)

log = get_logger(__name__)

# on_unhealthy(container name, kind, message)
OnUnhealthy = Callable[[str, Kind, str], None]


@dataclass
class _Watched:
    """A running container and the state of its probes."""

    container: core.Container
    record: ContainerRecord
    states: dict[Kind, ProbeState] = field(default_factory=dict)
    tasks: dict[Kind, asyncio.Task[None]] = field(default_factory=dict)


class PodProber:
    """The probes of one pod. `on_change()` is called whenever a result turned."""

    def __init__(
        self,
        runtime: Runtime,
        session: aiohttp.ClientSession,
        on_change: Callable[[], None],
        on_unhealthy: OnUnhealthy,
    ) -> None:
        self._runtime, self._session = runtime, session
        self._on_change, self._on_unhealthy = on_change, on_unhealthy
        self._watched: dict[str, _Watched] = {}

    def sync(self, pod: core.Pod, runtime: PodRecord, terminating: bool = False) -> None:
        """Start probing what runs now, stop probing what does not."""
        ip = pod.status.host_ip if pod.spec.host_network else _pod_ip(runtime)
        alive: set[str] = set()
        for container in (*pod.spec.init_containers, *pod.spec.containers):
            record = runtime.latest(container.name)
            if record is None or not record.alive:
                continue
            alive.add(record.id)
            if record.id not in self._watched:
                self._add(pod, container, record)
            self._run_due(self._watched[record.id], pod, ip, terminating)
        for container_id in [c for c in self._watched if c not in alive]:
            self._drop(container_id)

    def close(self) -> None:
        for container_id in list(self._watched):
            self._drop(container_id)

    def _add(self, pod: core.Pod, container: core.Container, record: ContainerRecord) -> None:
        watched = _Watched(container, record)
        for kind in Kind:
            if probe_of(container, kind):
                watched.states[kind] = _seed(pod, record, kind)
        self._watched[record.id] = watched

    def _drop(self, container_id: str) -> None:
        for task in self._watched.pop(container_id).tasks.values():
            task.cancel()

    def _run_due(self, watched: _Watched, pod: core.Pod, ip: str, terminating: bool) -> None:
        """Startup first; the others once it succeeded. Only readiness outlives a deletion."""
        started = self._is_started(watched)
        for kind in watched.states:
            wanted = (kind is Kind.STARTUP) != started
            if terminating and kind is not Kind.READINESS:
                wanted = False
            task = watched.tasks.get(kind)
            if wanted and task is None:
                name = f"probe-{kind}-{pod.metadata.name}-{watched.container.name}"
                watched.tasks[kind] = asyncio.create_task(
                    self._probe_forever(watched, kind, pod, ip), name=name
                )
            elif not wanted and task is not None:
                watched.tasks.pop(kind).cancel()

    async def _probe_forever(self, watched: _Watched, kind: Kind, pod: core.Pod, ip: str) -> None:
        probe = probe_of(watched.container, kind)
        assert probe is not None
        settings = Settings.of(probe)
        target = Target(watched.record.id, ip, watched.container)
        await asyncio.sleep(first_delay(time.time() - watched.record.started_at, settings))
        while True:
            began = time.monotonic()
            outcome = await self._probe(target, probe, settings)
            if self._observe(watched, kind, outcome, settings, pod):
                self._on_change()
            pause = next_delay(kind, watched.states[kind], settings)
            # A little jitter keeps the probes of many pods from beating in step.
            pause *= random.uniform(0.98, 1.0)  # noqa: S311 - no secrecy needed
            await asyncio.sleep(max(pause - (time.monotonic() - began), 0.01))

    async def _probe(self, target: Target, probe: core.Probe, settings: Settings) -> Outcome:
        try:
            return await run_probe(self._runtime, self._session, target, probe, settings.timeout)
        except Exception as error:
            # A probe that cannot be run is a failed probe, never the end of probing.
            log.exception("probe broke", container=target.container.name)
            return Outcome(False, str(error))

    def _observe(
        self, watched: _Watched, kind: Kind, outcome: Outcome, settings: Settings, pod: core.Pod
    ) -> bool:
        """Note the outcome; True when the published result turned."""
        before = watched.states[kind]
        after = before.observe(outcome, settings)
        watched.states[kind] = after
        metrics.PROBES.labels(
            kind, "successful" if outcome.ok else "failed", watched.container.name,
            pod.metadata.name, pod.metadata.namespace,
        ).inc()  # fmt: skip
        if not outcome.ok and not is_quick_repeat(kind, before):
            self._on_unhealthy(watched.container.name, kind, outcome.message)
        if before.result != after.result:
            log.info(
                "probe result", kind=kind, result=after.result, container=watched.container.name,
                pod=f"{pod.metadata.namespace}/{pod.metadata.name}",
            )  # fmt: skip
        return before.result != after.result

    # -- what the decisions and the status read

    def _is_started(self, watched: _Watched) -> bool:
        state = watched.states.get(Kind.STARTUP)
        return state is None or state.result is Result.SUCCESS

    def _is_ready(self, watched: _Watched) -> bool:
        state = watched.states.get(Kind.READINESS)
        return self._is_started(watched) and (state is None or state.result is Result.SUCCESS)

    def started(self) -> frozenset[str]:
        return frozenset(c for c, w in self._watched.items() if self._is_started(w))

    def ready(self) -> frozenset[str]:
        return frozenset(c for c, w in self._watched.items() if self._is_ready(w))

    def failed(self, kind: Kind) -> frozenset[str]:
        return frozenset(
            container_id
            for container_id, watched in self._watched.items()
            if (state := watched.states.get(kind)) and state.result is Result.FAILURE
        )


def _pod_ip(runtime: PodRecord) -> str:
    return runtime.sandbox.ips[0] if runtime.sandbox and runtime.sandbox.ips else ""


def _seed(pod: core.Pod, record: ContainerRecord, kind: Kind) -> ProbeState:
    """The first state. A container that the API knows as ready stays so until a probe says no.

    Without this a kubelet restart would take every endpoint away for a moment.
    """
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        if status.container_id != record.uri:
            continue
        if kind is Kind.READINESS and status.ready:
            return ProbeState(Result.SUCCESS, succeeded=True)
        if kind is Kind.STARTUP and status.started:
            return ProbeState(Result.SUCCESS, succeeded=True)
    return ProbeState.initial(kind)
