"""The PodStatus to report, from the pod, the runtime's records and the probes' results.

Pure counterpart of upstream's `kubelet_pods.generateAPIPodStatus` and `status/generate.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import msgspec

from kube.api import core
from kube.machinery.qos import qos_class
from kube.machinery.times import format_seconds
from worker.kubelet.cri.records import ContainerRecord, PodRecord, State
from worker.kubelet.pod.podactions import Waiting, all_statuses, is_sidecar, mains_begun

OWNED_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the status depends on besides the pod and the runtime."""

    host_ip: str
    now: float
    started: Set[str] = frozenset()  # container ids past their startup probe
    ready: Set[str] = frozenset()  # container ids that serve
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    phase: str = ""  # forced: the pod failed for a reason of its own
    ending: bool = False  # being deleted: nothing will be restarted any more
    reason: str = ""
    message: str = ""


def pod_status(pod: core.Pod, runtime: PodRecord, facts: Facts) -> core.PodStatus:
    inits = tuple(_container(pod, c, runtime, facts, init=True) for c in pod.spec.init_containers)
    mains = tuple(_container(pod, c, runtime, facts, init=False) for c in pod.spec.containers)
    phase = facts.phase or _phase(pod, inits, mains, facts.ending)
    draft = core.PodStatus(
        phase=phase,
        reason=facts.reason,
        message=facts.message,
        host_ip=facts.host_ip,
        host_ips=(core.HostIP(ip=facts.host_ip),) if facts.host_ip else (),
        start_time=pod.status.start_time or format_seconds(facts.now),
        qos_class=pod.status.qos_class or qos_class(pod.spec),
        init_container_statuses=inits,
        container_statuses=mains,
        nominated_node_name=pod.status.nominated_node_name,
    )
    draft = _with_addresses(pod, runtime, facts, draft)
    conditions = _conditions(pod, runtime, draft)
    return msgspec.structs.replace(draft, conditions=_stamped(pod, conditions, facts.now))


def _with_addresses(
    pod: core.Pod, runtime: PodRecord, facts: Facts, status: core.PodStatus
) -> core.PodStatus:
    """Pod addresses: the node's for the host network, else the sandbox's while it has any."""
    if pod.spec.host_network:
        ips: tuple[str, ...] = (facts.host_ip,) if facts.host_ip else ()
    elif runtime.sandbox and runtime.sandbox.ips:
        ips = runtime.sandbox.ips
    else:
        ips = tuple(ip.ip for ip in pod.status.pod_ips) if runtime.sandboxes else ()
    if not ips:
        return status
    return msgspec.structs.replace(
        status, pod_ip=ips[0], pod_ips=tuple(core.PodIP(ip=ip) for ip in ips)
    )


# ---- containers


def _container(
    pod: core.Pod, spec: core.Container, runtime: PodRecord, facts: Facts, *, init: bool
) -> core.ContainerStatus:
    history = list(runtime.history(spec.name))
    if not history:
        return _never_ran(pod, spec, runtime, facts, init=init)
    newest = history[0]
    waiting = _waits(pod, spec, newest, runtime, facts, init=init)
    if waiting is not None:
        state, past = core.ContainerState(waiting=waiting), history
    else:
        state, past = _state(newest), history[1:]
    running = waiting is None and newest.state is State.RUNNING
    ready = _ready(spec, newest, facts, init=init, running=running)
    return core.ContainerStatus(
        name=spec.name,
        state=state,
        last_state=_last_state(past),
        ready=ready,
        started=_started(newest, facts, init=init, running=running, sidecar=is_sidecar(spec)),
        restart_count=newest.attempt,
        image=newest.image or spec.image,
        image_id=newest.image_id,
        container_id=newest.uri,
    )


def _ready(
    spec: core.Container, record: ContainerRecord, facts: Facts, *, init: bool, running: bool
) -> bool:
    """Init containers are ready when they succeeded, all others while they run and serve."""
    if init and not is_sidecar(spec):
        return record.state is State.EXITED and record.exit_code == 0
    return running and record.id in facts.ready


def _started(
    record: ContainerRecord, facts: Facts, *, init: bool, running: bool, sidecar: bool
) -> bool:
    if init and not sidecar:
        return False
    return running and record.id in facts.started


def _waits(
    pod: core.Pod,
    spec: core.Container,
    newest: ContainerRecord,
    runtime: PodRecord,
    facts: Facts,
    *,
    init: bool,
) -> core.ContainerStateWaiting | None:
    """Why a container that ran before shows as waiting: back-off, or a new sandbox."""
    why = facts.waiting.get(spec.name)
    if why is not None and not newest.alive:
        return core.ContainerStateWaiting(reason=why.reason, message=why.message)
    if newest.state is State.CREATED:
        return core.ContainerStateWaiting(reason=_pending_reason(pod, init=init))
    return None


def _never_ran(
    pod: core.Pod, spec: core.Container, runtime: PodRecord, facts: Facts, *, init: bool
) -> core.ContainerStatus:
    """Waiting; or what the API remembers, when the runtime lost the container."""
    known = next((s for s in all_statuses(pod) if s.name == spec.name and s.container_id), None)
    why = facts.waiting.get(spec.name) or Waiting(_pending_reason(pod, init=init))
    state = core.ContainerState(
        waiting=core.ContainerStateWaiting(reason=why.reason, message=why.message)
    )
    if known is None:
        return core.ContainerStatus(
            name=spec.name,
            state=state,
            ready=False,
            started=False,
            restart_count=0,
            image=spec.image,
        )
    return _lost(spec, known, state, facts, init=init, done=mains_begun(pod, runtime))


def _lost(
    spec: core.Container,
    known: core.ContainerStatus,
    waiting: core.ContainerState,
    facts: Facts,
    *,
    init: bool,
    done: bool,
) -> core.ContainerStatus:
    """A container that ran, and that the runtime has no record of any more."""
    ended = known.state.terminated if known.state else None
    if ended is not None:
        if spec.name not in facts.waiting:
            return known
        last = core.ContainerState(terminated=ended)
    else:
        last = core.ContainerState(
            terminated=core.ContainerStateTerminated(
                exit_code=137,
                reason="ContainerStatusUnknown",
                message="The container could not be located when the pod was terminated",
                container_id=known.container_id,
            )
        )
        if facts.phase in ("Succeeded", "Failed"):
            waiting, last = last, known.last_state or core.ContainerState()
    return msgspec.structs.replace(
        known, state=waiting, last_state=last, ready=False, started=False
    )


def _pending_reason(pod: core.Pod, *, init: bool) -> str:
    """`PodInitializing` for containers that wait for init containers (kubectl's Init:0/1)."""
    return "PodInitializing" if pod.spec.init_containers else "ContainerCreating"


def _state(record: ContainerRecord) -> core.ContainerState:
    if record.state is State.RUNNING:
        started = format_seconds(record.started_at)
        return core.ContainerState(running=core.ContainerStateRunning(started_at=started))
    return core.ContainerState(terminated=_terminated(record))


def _terminated(record: ContainerRecord) -> core.ContainerStateTerminated:
    if record.state is not State.EXITED:
        return core.ContainerStateTerminated(
            exit_code=137,
            reason="ContainerStatusUnknown",
            message="The container could not be located when the pod was terminated",
            container_id=record.uri,
        )
    return core.ContainerStateTerminated(
        exit_code=record.exit_code,
        reason=record.reason or ("Completed" if record.exit_code == 0 else "Error"),
        message=record.message,
        started_at=format_seconds(record.started_at),
        finished_at=format_seconds(record.finished_at),
        container_id=record.uri,
    )


def _last_state(past: Sequence[ContainerRecord]) -> core.ContainerState:
    for record in past:
        if record.state is State.EXITED:
            return core.ContainerState(terminated=_terminated(record))
    return core.ContainerState()


# ---- phase


def _phase(
    pod: core.Pod,
    inits: Sequence[core.ContainerStatus],
    mains: Sequence[core.ContainerStatus],
    ending: bool,
) -> str:
    """Upstream's `getPhase`. A pod that is ending counts as one that restarts nothing."""
    policy = "Never" if ending else pod.spec.restart_policy
    pending, failed = _init_progress(pod, inits)
    if failed and policy == "Never":
        return "Failed"
    begun = any(_ran(s) for s in mains)
    if (pending or failed) and not begun:
        return "Pending"
    return _main_phase(policy, mains)


def _init_progress(pod: core.Pod, statuses: Sequence[core.ContainerStatus]) -> tuple[bool, bool]:
    """(some init container has still to finish, some has failed)."""
    pending = failed = False
    for spec, status in zip(pod.spec.init_containers, statuses, strict=True):
        if is_sidecar(spec):
            pending = pending or not status.started
            continue
        ended = _ended(status)
        if ended is None:
            pending = True
        elif ended.exit_code:
            failed = True
    return pending, failed


def _main_phase(policy: str, mains: Sequence[core.ContainerStatus]) -> str:
    if any(s.state and s.state.waiting and not _ran(s) for s in mains):
        return "Pending"
    if any(s.state and s.state.running for s in mains):
        return "Running"
    ended = [_ended(s) for s in mains]
    if not ended or any(e is None for e in ended) or policy in ("Always", ""):
        return "Running" if ended else "Pending"
    if all(e is not None and e.exit_code == 0 for e in ended):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _ran(status: core.ContainerStatus) -> bool:
    state = status.state
    if state and (state.running or state.terminated):
        return True
    return bool(status.last_state and status.last_state.terminated)


def _ended(status: core.ContainerStatus) -> core.ContainerStateTerminated | None:
    if status.state and status.state.terminated:
        return status.state.terminated
    waiting = status.state and status.state.waiting
    return status.last_state.terminated if waiting and status.last_state else None


# ---- conditions


def _conditions(
    pod: core.Pod, runtime: PodRecord, status: core.PodStatus
) -> list[core.PodCondition]:
    containers_ready = _containers_ready(pod, status)
    sandbox = runtime.sandbox
    return [
        _condition("PodReadyToStartContainers", bool(sandbox and sandbox.ready)),
        _initialized(pod, status),
        _ready_condition(pod, containers_ready),
        containers_ready,
        _condition("PodScheduled", True),
    ]


def _condition(kind: str, status: bool, reason: str = "", message: str = "") -> core.PodCondition:
    text = "True" if status else "False"
    return core.PodCondition(type=kind, status=text, reason=reason, message=message)


def _initialized(pod: core.Pod, status: core.PodStatus) -> core.PodCondition:
    incomplete = [
        s.name
        for spec, s in zip(pod.spec.init_containers, status.init_container_statuses, strict=True)
        if not (s.started if is_sidecar(spec) else s.ready)
    ]
    if status.phase == "Succeeded":
        return _condition("Initialized", True, "PodCompleted")
    if not incomplete or any(_ran(s) for s in status.container_statuses):
        return _condition("Initialized", True)
    names = " ".join(incomplete)
    message = f"containers with incomplete status: [{names}]"
    return _condition("Initialized", False, "ContainersNotInitialized", message)


def _containers_ready(pod: core.Pod, status: core.PodStatus) -> core.PodCondition:
    if status.phase == "Succeeded":
        return _condition("ContainersReady", False, "PodCompleted")
    if status.phase == "Failed":
        return _condition("ContainersReady", False, "PodFailed")
    sidecars = {c.name for c in pod.spec.init_containers if is_sidecar(c)}
    watched = [
        *(s for s in status.init_container_statuses if s.name in sidecars),
        *status.container_statuses,
    ]
    unready = " ".join(s.name for s in watched if not s.ready)
    if not unready:
        return _condition("ContainersReady", True)
    message = f"containers with unready status: [{unready}]"
    return _condition("ContainersReady", False, "ContainersNotReady", message)


def _ready_condition(pod: core.Pod, containers: core.PodCondition) -> core.PodCondition:
    if containers.status != "True":
        return msgspec.structs.replace(containers, type="Ready")
    held = {c.type: c.status for c in pod.status.conditions}
    gates = [g.condition_type for g in pod.spec.readiness_gates]
    closed = [gate for gate in gates if held.get(gate) != "True"]
    if not closed:
        return _condition("Ready", True)
    lines = [f'the status of pod readiness gate "{gate}" is not "True"' for gate in closed]
    return _condition("Ready", False, "ReadinessGatesNotReady", ", but ".join(lines))


def _stamped(
    pod: core.Pod, conditions: Sequence[core.PodCondition], now: float
) -> tuple[core.PodCondition, ...]:
    """Ours, each with the time of its last change, then those that others own."""
    before = {c.type: c for c in pod.status.conditions}
    stamped = []
    for condition in conditions:
        old = before.get(condition.type)
        same = old is not None and old.status == condition.status and old.last_transition_time
        when = old.last_transition_time if old and same else format_seconds(now)
        stamped.append(msgspec.structs.replace(condition, last_transition_time=when))
    others = [c for c in pod.status.conditions if c.type not in OWNED_CONDITIONS]
    return (*stamped, *others)
