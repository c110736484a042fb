"""The cells of a Pod; its Status column is the most intricate of all."""

from __future__ import annotations

from datetime import datetime

from kube.api.core import ContainerState, ContainerStatus, Pod
from master.apiserver.rest.tables.cell import NONE, age, human_duration, parse_time

_EMPTY = ContainerState()


def pod(obj: Pod, now: datetime) -> list[str | int | None]:
    statuses = obj.status.container_statuses
    sidecars = {c.name for c in obj.spec.init_containers if c.restart_policy == "Always"}
    counted = [s for s in obj.status.init_container_statuses if s.name in sidecars] + list(statuses)
    total = len(obj.spec.containers) + len(sidecars)
    ready = sum(1 for s in counted if s.ready and (s.state or _EMPTY).running)
    return [
        obj.metadata.name,
        f"{ready}/{total}",
        _status(obj),
        _restarts(obj, now),
        age(obj.metadata.creation_timestamp, now),
        obj.status.pod_ip or NONE,
        obj.spec.node_name or NONE,
        obj.status.nominated_node_name or NONE,
        _gates(obj),
    ]


def _status(obj: Pod) -> str:
    reason = obj.status.reason or obj.status.phase
    for condition in obj.status.conditions:
        if condition.type == "PodScheduled" and condition.reason == "SchedulingGated":
            reason = "SchedulingGated"
    reason = _init_reason(obj) or _main_reason(obj, reason)
    if obj.metadata.deletion_timestamp and obj.status.reason == "NodeLost":
        return "Unknown"
    if obj.metadata.deletion_timestamp and obj.status.phase not in ("Failed", "Succeeded"):
        return "Terminating"
    return reason


def _init_reason(obj: Pod) -> str:
    """`Init:0/2`, `Init:Error`, ... while an init container has work to do; else ""."""
    specs = {c.name: c for c in obj.spec.init_containers}
    for index, status in enumerate(obj.status.init_container_statuses):
        state = status.state or _EMPTY
        spec = specs.get(status.name)
        if state.terminated and not state.terminated.exit_code:
            continue
        if spec and spec.restart_policy == "Always" and status.started:
            continue
        if state.terminated:
            return f"Init:{_ended(state)}"
        if state.waiting and state.waiting.reason not in ("", "PodInitializing"):
            return f"Init:{state.waiting.reason}"
        return f"Init:{index}/{len(specs)}"
    return ""


def _ended(state: ContainerState) -> str:
    ended = state.terminated
    assert ended is not None
    if ended.reason:
        return ended.reason
    return f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exit_code or 0}"


def _main_reason(obj: Pod, reason: str) -> str:
    running = False
    for status in reversed(obj.status.container_statuses):
        state = status.state or _EMPTY
        if state.waiting and state.waiting.reason:
            reason = state.waiting.reason
        elif state.terminated:
            reason = _ended(state)
        elif status.ready and state.running:
            running = True
    if reason == "Completed" and running:
        ready = any(c.type == "Ready" and c.status == "True" for c in obj.status.conditions)
        return "Running" if ready else "NotReady"
    return reason


def _restarts(obj: Pod, now: datetime) -> str:
    statuses: tuple[ContainerStatus, ...] = obj.status.container_statuses
    count = sum(s.restart_count or 0 for s in statuses)
    ends = [
        when
        for s in statuses
        if s.last_state
        and s.last_state.terminated
        and (when := parse_time(s.last_state.terminated.finished_at))
    ]
    if not count or not ends:
        return str(count)
    return f"{count} ({human_duration((now - max(ends)).total_seconds())} ago)"


def _gates(obj: Pod) -> str:
    gates = obj.spec.readiness_gates
    if not gates:
        return NONE
    true = {c.type for c in obj.status.conditions if c.status == "True"}
    return f"{sum(1 for gate in gates if gate.condition_type in true)}/{len(gates)}"
