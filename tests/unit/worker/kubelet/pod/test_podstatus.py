"""The status that a pod reports, from what the runtime has."""

from __future__ import annotations

import msgspec
import pytest

from kube.api import core
from kube.api.meta import ObjectMeta
from kube.machinery import errors
from kube.machinery.times import format_seconds
from worker.kubelet.cri.records import ContainerRecord, PodRecord, SandboxRecord, State
from worker.kubelet.pod import statuses
from worker.kubelet.pod.podactions import Waiting
from worker.kubelet.pod.podstatus import Facts, pod_status
from worker.kubelet.pod.statuses import StatusWriter, merge

BOX = SandboxRecord("s0", ready=True, ips=("10.1.0.5",))


def pod(policy: str = "Always", inits: tuple[str, ...] = (), **status: object) -> core.Pod:
    return core.Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="u"),
        spec=core.PodSpec(
            containers=(core.Container(name="web", image="web:1"),),
            init_containers=tuple(core.Container(name=n, image="i:1") for n in inits),
            restart_policy=policy,
        ),
        status=core.PodStatus(**status),
    )


def ran(
    name: str = "web", state: State = State.RUNNING, attempt: int = 0, **fields: object
) -> ContainerRecord:
    return ContainerRecord(
        f"{name}{attempt}",
        name,
        "s0",
        attempt,
        state,
        created_at=float(attempt),
        **fields,
    )


def status_of(
    subject: core.Pod,
    *runs: ContainerRecord,
    boxes: tuple[SandboxRecord, ...] = (BOX,),
    **facts: object,
) -> core.PodStatus:
    newest_first = tuple(sorted(runs, key=lambda r: -r.attempt))
    record = PodRecord("u", sandboxes=boxes, containers=newest_first)
    return pod_status(subject, record, Facts(host_ip="10.0.0.1", now=1000.0, **facts))


def conditions(status: core.PodStatus) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in status.conditions}


def test_a_new_pod_is_pending_and_creating() -> None:
    status = status_of(pod(), boxes=())
    assert status.phase == "Pending"
    assert status.pod_ip == ""
    waiting = status.container_statuses[0].state
    assert waiting and waiting.waiting and waiting.waiting.reason == "ContainerCreating"
    assert conditions(status) == {
        "PodReadyToStartContainers": ("False", ""),
        "Initialized": ("True", ""),
        "Ready": ("False", "ContainersNotReady"),
        "ContainersReady": ("False", "ContainersNotReady"),
        "PodScheduled": ("True", ""),
    }


def test_a_running_ready_pod() -> None:
    both = frozenset({"web0"})
    status = status_of(pod(), ran(started_at=10.0), started=both, ready=both)
    assert (status.phase, status.pod_ip, status.host_ip) == ("Running", "10.1.0.5", "10.0.0.1")
    container = status.container_statuses[0]
    assert (container.ready, container.started, container.restart_count) == (True, True, 0)
    assert container.container_id == "cri://web0"
    assert all(c.status == "True" for c in status.conditions)


def test_unready_containers_are_named() -> None:
    status = status_of(pod(), ran(), started=frozenset({"web0"}))
    message = next(c.message for c in status.conditions if c.type == "Ready")
    assert message == "containers with unready status: [web]"


@pytest.mark.parametrize(
    ("policy", "code", "phase", "reason"),
    [
        ("Never", 0, "Succeeded", "Completed"),
        ("Never", 3, "Failed", "Error"),
        ("OnFailure", 0, "Succeeded", "Completed"),
        ("OnFailure", 3, "Running", "Error"),
        ("Always", 0, "Running", "Completed"),
    ],
)
def test_the_phase_of_an_ended_container(policy: str, code: int, phase: str, reason: str) -> None:
    status = status_of(pod(policy), ran(state=State.EXITED, exit_code=code))
    assert status.phase == phase
    state = status.container_statuses[0].state
    assert state and state.terminated
    assert (state.terminated.reason, state.terminated.exit_code) == (reason, code)


def test_the_runtimes_reason_wins() -> None:
    status = status_of(pod(), ran(state=State.EXITED, exit_code=137, reason="OOMKilled"))
    state = status.container_statuses[0].state
    assert state and state.terminated and state.terminated.reason == "OOMKilled"


def test_crash_loop_shows_the_last_state_and_counts_as_running() -> None:
    runs = (ran(state=State.EXITED, exit_code=1, attempt=4), ran(state=State.EXITED, attempt=3))
    status = status_of(pod(), *runs, waiting={"web": Waiting("CrashLoopBackOff", "back-off 10s")})
    container = status.container_statuses[0]
    assert container.state and container.state.waiting
    assert container.state.waiting.reason == "CrashLoopBackOff"
    assert container.last_state and container.last_state.terminated
    assert container.last_state.terminated.exit_code == 1
    assert (container.restart_count, status.phase) == (4, "Running")


def test_a_restarted_container_remembers_its_last_end() -> None:
    status = status_of(pod(), ran(attempt=1), ran(state=State.EXITED, exit_code=7))
    last = status.container_statuses[0].last_state
    assert last and last.terminated and last.terminated.exit_code == 7


def test_init_containers_hold_the_pod_back() -> None:
    status = status_of(pod(inits=("i1", "i2")), ran("i1", State.EXITED))
    assert status.phase == "Pending"
    assert conditions(status)["Initialized"] == ("False", "ContainersNotInitialized")
    main = status.container_statuses[0].state
    assert main and main.waiting and main.waiting.reason == "PodInitializing"


def test_a_failed_init_container_fails_a_never_pod() -> None:
    assert status_of(pod("Never", ("i",)), ran("i", State.EXITED, exit_code=1)).phase == "Failed"
    assert status_of(pod("Always", ("i",)), ran("i", State.EXITED, exit_code=1)).phase == "Pending"


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (143, "Failed")])
def test_a_deleted_pod_ends_in_a_final_phase(code: int, phase: str) -> None:
    ended = ran(state=State.EXITED, exit_code=code)
    assert status_of(pod("Always"), ended, ending=True).phase == phase


def test_transition_times_change_only_with_the_status() -> None:
    first = status_of(pod(), ran())
    later = PodRecord("u", sandboxes=(BOX,), containers=(ran(),))
    held = msgspec.structs.replace(pod(), status=first)
    second = pod_status(held, later, Facts("10.0.0.1", 2000.0, ready=frozenset({"web0"})))
    times = {c.type: c.last_transition_time for c in second.conditions}
    assert times["PodScheduled"] == format_seconds(1000.0)
    assert times["Ready"] == format_seconds(2000.0)


def test_a_readiness_gate_of_somebody_else_is_kept_and_obeyed() -> None:
    gate = core.PodCondition(type="example.com/lb", status="False")
    subject = pod(conditions=(gate,))
    spec = msgspec.structs.replace(
        subject.spec, readiness_gates=(core.PodReadinessGate(condition_type="example.com/lb"),)
    )
    subject = msgspec.structs.replace(subject, spec=spec)
    status = status_of(subject, ran(), ready=frozenset({"web0"}), started=frozenset({"web0"}))
    assert conditions(status)["Ready"] == ("False", "ReadinessGatesNotReady")
    assert conditions(status)["example.com/lb"] == ("False", "")


def test_merge_keeps_what_others_wrote_meanwhile() -> None:
    theirs = core.PodCondition(type="DisruptionTarget", status="True")
    stored = core.PodStatus(conditions=(theirs,))
    ours = core.PodStatus(
        phase="Running", conditions=(core.PodCondition(type="Ready", status="True"),)
    )
    merged = merge(stored, ours)
    assert [c.type for c in merged.conditions] == ["Ready", "DisruptionTarget"]
    assert merged.phase == "Running"


def test_what_the_runtime_lost_is_reported_from_memory() -> None:
    known = core.ContainerStatus(
        name="web", container_id="cri://old", restart_count=2,
        state=core.ContainerState(running=core.ContainerStateRunning()),
    )  # fmt: skip
    status = status_of(pod(container_statuses=(known,)), boxes=())
    container = status.container_statuses[0]
    assert container.restart_count == 2
    assert container.last_state and container.last_state.terminated
    assert container.last_state.terminated.reason == "ContainerStatusUnknown"


class Recorder:
    """A client that answers updates like an api-server with one pod."""

    def __init__(self, stored: core.Pod) -> None:
        self.stored, self.writes, self.failures = stored, 0, 0

    async def update_status(self, obj: core.Pod) -> core.Pod:
        if self.failures:
            self.failures -= 1
            raise errors.ServiceUnavailable("away")
        if obj.metadata.resource_version != self.stored.metadata.resource_version:
            raise errors.Conflict("stale")
        self.writes += 1
        version = str(int(self.stored.metadata.resource_version) + 1)
        meta = msgspec.structs.replace(self.stored.metadata, resource_version=version)
        self.stored = msgspec.structs.replace(self.stored, metadata=meta, status=obj.status)
        return self.stored

    async def get(self, _: type, name: str, namespace: str) -> core.Pod:
        return self.stored

    def overwrite(self, status: core.PodStatus) -> core.Pod:
        version = str(int(self.stored.metadata.resource_version) + 1)
        meta = msgspec.structs.replace(self.stored.metadata, resource_version=version)
        self.stored = msgspec.structs.replace(self.stored, metadata=meta, status=status)
        return self.stored


@pytest.fixture
def server() -> Recorder:
    subject = pod()
    meta = msgspec.structs.replace(subject.metadata, resource_version="5")
    return Recorder(msgspec.structs.replace(subject, metadata=meta))


def writer_of(server: Recorder) -> StatusWriter:
    return StatusWriter(server)


RUNNING, FAILED = core.PodStatus(phase="Running"), core.PodStatus(phase="Failed")


async def test_a_status_is_written_once(server: Recorder) -> None:
    writer, first = writer_of(server), server.stored
    assert writer.publish(first, RUNNING)
    assert not writer.publish(first, RUNNING)
    await writer.flush("u")
    assert not writer.publish(server.stored, RUNNING)
    assert (server.writes, server.stored.status) == (1, RUNNING)


async def test_what_the_server_has_already_is_not_written(server: Recorder) -> None:
    stored = server.overwrite(RUNNING)
    assert not writer_of(server).publish(stored, RUNNING)


async def test_the_last_status_survives_an_outage(
    server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "RETRY_SECONDS", (0.0,))
    server.failures = 3
    writer, first = writer_of(server), server.stored
    writer.publish(first, RUNNING)
    writer.publish(first, FAILED)
    await writer.flush("u")
    assert (server.writes, server.stored.status) == (1, FAILED)


async def test_a_conflict_is_resolved_on_top_of_what_others_wrote(server: Recorder) -> None:
    stale = server.stored
    theirs = core.PodCondition(type="DisruptionTarget", status="True")
    server.overwrite(core.PodStatus(conditions=(theirs,)))
    writer = writer_of(server)
    writer.publish(stale, RUNNING)
    await writer.flush("u")
    assert (server.stored.status.phase, server.stored.status.conditions) == ("Running", (theirs,))


async def test_a_status_that_somebody_replaced_is_written_again(server: Recorder) -> None:
    """The node lifecycle controller marks the pods of an unreachable node as not ready."""
    writer = writer_of(server)
    ready = core.PodStatus(conditions=(core.PodCondition(type="Ready", status="True"),))
    writer.publish(server.stored, ready)
    await writer.flush("u")
    unready = core.PodStatus(conditions=(core.PodCondition(type="Ready", status="False"),))
    assert writer.publish(server.overwrite(unready), ready)
    await writer.flush("u")
    assert server.stored.status == ready


async def test_a_stale_watch_event_does_not_bring_an_old_status_back(server: Recorder) -> None:
    writer, old = writer_of(server), server.stored
    writer.publish(old, RUNNING)
    await writer.flush("u")
    assert not writer.publish(old, RUNNING)


async def test_a_pod_that_is_gone_ends_the_writing(server: Recorder) -> None:
    writer, first = writer_of(server), server.stored
    meta = msgspec.structs.replace(server.stored.metadata, uid="other", resource_version="9")
    server.stored = msgspec.structs.replace(server.stored, metadata=meta)
    writer.publish(first, RUNNING)
    await writer.flush("u")
    assert server.writes == 0
