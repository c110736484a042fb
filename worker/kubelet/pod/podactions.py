"""What must happen next for a pod, given what the runtime has: `pod_actions`.

The decision half of upstream's `kuberuntime_manager.computePodActions`, with native sidecars
(KEP-753). Pure: the worker performs the plan, looks at the runtime again and asks again, until
nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime

from kube.api import core
from worker.kubelet.cri.records import ContainerRecord, PodRecord, SandboxRecord, State
from worker.kubelet.pod.backoff import BackOff, describe
from worker.kubelet.pod.names import container_hash


@dataclass(frozen=True, slots=True)
class Hold:
    """A container that could not be started (image, config) and may not be tried yet."""

    until: float
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class View:
    """What else the decision depends on: probe results by container id, and retry timers."""

    started: Set[str] = frozenset()
    liveness_failed: Set[str] = frozenset()
    startup_failed: Set[str] = frozenset()
    backoffs: Mapping[str, BackOff] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container as run number `attempt`."""

    container: core.Container
    attempt: int
    init: bool = False
    previous: ContainerRecord | None = None


@dataclass(frozen=True, slots=True)
class Kill:
    record: ContainerRecord
    message: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run yet, as its status will say."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Work in the order in which it must be done."""

    kill_pod: bool = False  # 1. end every container and sandbox
    kills: tuple[Kill, ...] = ()  # 2. end these containers
    create_sandbox: int | None = None  # 3. a sandbox with this attempt number
    starts: tuple[Start, ...] = ()  # 4. start these, in this order
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    wake_at: float | None = None
    finished: bool = False  # the pod has reached Succeeded or Failed
    deadline_exceeded: bool = False
    lost: bool = False  # it ran, its policy is Never, and the runtime knows nothing of it

    @property
    def has_work(self) -> bool:
        return bool(self.kill_pod or self.kills or self.starts or self.create_sandbox is not None)


def pod_actions(pod: core.Pod, runtime: PodRecord, view: View, now: float) -> Plan:
    """The next steps for a pod that is wanted. (One that is being deleted is only killed.)"""
    if pod.status.phase in ("Succeeded", "Failed"):
        return Plan(kill_pod=runtime.alive, finished=True)
    if deadline_passed(pod, now):
        return Plan(kill_pod=runtime.alive, finished=True, deadline_exceeded=True)
    if not sandbox_usable(pod, runtime):
        return _replace_sandbox(pod, runtime)
    if finished(pod, runtime):
        return Plan(kill_pod=runtime.alive, finished=True)
    return _containers(pod, runtime, view, now)


def deadline_passed(pod: core.Pod, now: float) -> bool:
    """`activeDeadlineSeconds`, counted from the start that the status records."""
    limit = pod.spec.active_deadline_seconds
    if limit is None or not pod.status.start_time:
        return False
    return now >= datetime.fromisoformat(pod.status.start_time).timestamp() + limit


def sandbox_usable(pod: core.Pod, runtime: PodRecord) -> bool:
    """One ready sandbox, of the right network kind, with an address if it needs one."""
    ready = [sandbox for sandbox in runtime.sandboxes if sandbox.ready]
    if len(ready) != 1 or ready[0] is not runtime.sandbox:
        return False
    return _network_fits(pod, ready[0])


def _network_fits(pod: core.Pod, sandbox: SandboxRecord) -> bool:
    if bool(pod.spec.host_network) != sandbox.host_network:
        return False
    return sandbox.host_network or bool(sandbox.ips)


def _replace_sandbox(pod: core.Pod, runtime: PodRecord) -> Plan:
    newest = runtime.sandbox
    if newest is None and pod.spec.restart_policy == "Never" and _ran_before(pod):
        return Plan(kill_pod=runtime.alive, finished=True, lost=True)
    if newest is None:
        return Plan(kill_pod=runtime.alive, create_sandbox=0)
    if not _worth_a_sandbox(pod, runtime):
        return Plan(kill_pod=runtime.alive, finished=True)
    return Plan(kill_pod=runtime.alive, create_sandbox=newest.attempt + 1)


def _ran_before(pod: core.Pod) -> bool:
    """Whether the API remembers a run of a main container: `Never` means not a second time."""
    return any(status.container_id for status in pod.status.container_statuses)


def _worth_a_sandbox(pod: core.Pod, runtime: PodRecord) -> bool:
    """Whether a pod whose sandbox died has anything left that its policy lets run again."""
    if pod.spec.restart_policy == "Never" and runtime.containers:
        return False
    return not finished(pod, runtime)


def finished(pod: core.Pod, runtime: PodRecord) -> bool:
    """All main containers ended for good, or an init container failed for good."""
    if any(_failed_for_good(pod, c, runtime) for c in regular_inits(pod)):
        return True
    return all(_done(pod, runtime.latest(c.name)) for c in pod.spec.containers)


def _failed_for_good(pod: core.Pod, container: core.Container, runtime: PodRecord) -> bool:
    record = runtime.latest(container.name)
    ended = record is not None and record.state is State.EXITED
    return pod.spec.restart_policy == "Never" and bool(ended and record and record.exit_code)


def _done(pod: core.Pod, record: ContainerRecord | None) -> bool:
    return (
        record is not None
        and record.state is State.EXITED
        and not _policy_restarts(pod.spec.restart_policy, record)
    )


def _policy_restarts(policy: str, record: ContainerRecord) -> bool:
    if policy == "Never":
        return False
    return policy != "OnFailure" or record.exit_code != 0


def is_sidecar(container: core.Container) -> bool:
    return container.restart_policy == "Always"


def regular_inits(pod: core.Pod) -> Iterator[core.Container]:
    return (c for c in pod.spec.init_containers if not is_sidecar(c))


def _containers(pod: core.Pod, runtime: PodRecord, view: View, now: float) -> Plan:
    """The plan for a pod whose sandbox is good."""
    draft = _Draft(pod, runtime, view, now)
    if draft.initialise():
        for container in pod.spec.containers:
            draft.main(container)
    return draft.plan()


def mains_begun(pod: core.Pod, runtime: PodRecord) -> bool:
    """Main containers start only after the init containers, so one is proof of the others."""
    return any(runtime.current(c.name) for c in pod.spec.containers)


class _Draft:
    """Collects the plan of one call; never outlives it."""

    def __init__(self, pod: core.Pod, runtime: PodRecord, view: View, now: float) -> None:
        self.pod, self.runtime, self.view, self.now = pod, runtime, view, now
        self.starts: list[Start] = []
        self.kills: list[Kill] = []
        self.waiting: dict[str, Waiting] = {}
        self.wakes: list[float] = []

    def plan(self) -> Plan:
        return Plan(
            kills=tuple(self.kills),
            starts=tuple(self.starts),
            waiting=self.waiting,
            wake_at=min(self.wakes, default=None),
        )

    def initialise(self) -> bool:
        """Go through the init containers in order; True when the main ones may run."""
        begun = mains_begun(self.pod, self.runtime)
        for container in self.pod.spec.init_containers:
            step = self._sidecar if is_sidecar(container) else self._init
            if not step(container, begun) and not begun:
                return False
        return True

    def _init(self, container: core.Container, begun: bool) -> bool:
        record = self.runtime.current(container.name)
        if begun or (record and record.state is State.EXITED and record.exit_code == 0):
            return True
        if record is None or not record.alive:
            self._start(container, init=True)
        elif self._probes_failed(record):
            self._kill(container, record)
        return False

    def _sidecar(self, container: core.Container, begun: bool) -> bool:
        record = self.runtime.current(container.name)
        if record is None or not record.alive:
            self._start(container, init=True)
            return False
        self._check_running(container, record)
        return record.id in self.view.started

    def main(self, container: core.Container) -> None:
        record = self.runtime.current(container.name)
        if record is None or record.state is State.CREATED:
            self._start(container)
        elif record.alive:
            self._check_running(container, record)
        elif _policy_restarts(self.pod.spec.restart_policy, record):
            self._start(container)

    def _check_running(self, container: core.Container, record: ContainerRecord) -> None:
        if record.state is State.UNKNOWN:
            self.kills.append(
                Kill(record, f"Container {container.name} is in unknown state, try killing it")
            )
        elif record.hash and record.hash != container_hash(container):
            self.kills.append(
                Kill(record, f"Container {container.name} definition changed, will be restarted")
            )
        elif self._probes_failed(record):
            self._kill(container, record)

    def _probes_failed(self, record: ContainerRecord) -> bool:
        return record.id in self.view.liveness_failed or record.id in self.view.startup_failed

    def _kill(self, container: core.Container, record: ContainerRecord) -> None:
        kind = "liveness" if record.id in self.view.liveness_failed else "startup"
        what = "" if self.pod.spec.restart_policy == "Never" else ", will be restarted"
        self.kills.append(Kill(record, f"Container {container.name} failed {kind} probe{what}"))

    def _start(self, container: core.Container, init: bool = False) -> None:
        """Start it, unless a hold or the crash back-off says to wait."""
        hold = self.view.holds.get(container.name)
        if hold and self.now < hold.until:
            self._wait(container, hold.until, Waiting(hold.reason, hold.message))
            return
        previous = self.runtime.latest(container.name)
        until = self._back_off_until(container, previous)
        if until is not None and self.now < until:
            self._wait(container, until, self._crash_loop(container))
            return
        attempt = next_attempt(self.pod, container.name, previous)
        self.starts.append(Start(container, attempt, init, previous))

    def _wait(self, container: core.Container, until: float, why: Waiting) -> None:
        self.waiting[container.name] = why
        self.wakes.append(until)

    def _back_off_until(
        self, container: core.Container, previous: ContainerRecord | None
    ) -> float | None:
        entry = self.view.backoffs.get(container.name)
        if entry is None or previous is None or previous.state is not State.EXITED:
            return None
        return entry.until(previous.finished_at)

    def _crash_loop(self, container: core.Container) -> Waiting:
        delay = self.view.backoffs[container.name].delay
        return Waiting(
            "CrashLoopBackOff",
            f"back-off {describe(delay)} restarting failed container={container.name} "
            f"pod={full_name(self.pod)}",
        )


def full_name(pod: core.Pod) -> str:
    """`name_namespace(uid)`, upstream's `format.Pod`."""
    meta = pod.metadata
    return f"{meta.name}_{meta.namespace}({meta.uid})"


def next_attempt(pod: core.Pod, name: str, previous: ContainerRecord | None) -> int:
    """One more than the last run, also when only the API's status remembers that run."""
    if previous is not None:
        return previous.attempt + 1
    for status in all_statuses(pod):
        if status.name == name and status.container_id:
            return (status.restart_count or 0) + 1
    return 0


def all_statuses(pod: core.Pod) -> Iterable[core.ContainerStatus]:
    return (*pod.status.init_container_statuses, *pod.status.container_statuses)


def prune(runtime: PodRecord) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Containers and sandboxes that are only history: (container ids, sandbox ids) to remove.

    The newest two runs of a container stay: the status shows the last state, and
    `kubectl logs --previous` reads its log.
    """
    seen: dict[str, int] = {}
    old: list[str] = []
    for record in runtime.containers:
        seen[record.name] = seen.get(record.name, 0) + 1
        if seen[record.name] > 2 and not record.alive:
            old.append(record.id)
    used = {c.sandbox_id for c in runtime.containers if c.id not in old}
    spare = tuple(s.id for s in runtime.sandboxes[1:] if not s.ready and s.id not in used)
    return tuple(old), spare
