"""What must happen next for a pod: tables of (what the runtime has) -> (the plan)."""

from __future__ import annotations

import msgspec
import pytest

from kube.api import core
from kube.api.meta import ObjectMeta
from worker.kubelet.cri.records import ContainerRecord, PodRecord, SandboxRecord, State
from worker.kubelet.pod.backoff import BackOff, advance, describe
from worker.kubelet.pod.names import container_hash
from worker.kubelet.pod.podactions import Hold, Plan, View, next_attempt, pod_actions, prune

NOW = 1000.0


def container(name: str = "web", **fields: object) -> core.Container:
    return core.Container(name=name, image="busybox:1", **fields)


def pod(
    *containers: core.Container,
    inits: tuple[core.Container, ...] = (),
    policy: str = "Always",
    status: core.PodStatus | None = None,
    **spec: object,
) -> core.Pod:
    return core.Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="u1"),
        spec=core.PodSpec(
            containers=containers or (container(),),
            init_containers=inits,
            restart_policy=policy,
            **spec,
        ),
        status=status or core.PodStatus(),
    )


def sandbox(attempt: int = 0, ready: bool = True, **fields: object) -> SandboxRecord:
    return SandboxRecord(
        id=f"s{attempt}", attempt=attempt, ready=ready, created_at=100.0 + attempt,
        **({"ips": ("10.1.0.5",)} | fields),
    )  # fmt: skip


def run(
    name: str = "web",
    state: State = State.RUNNING,
    attempt: int = 0,
    box: str = "s0",
    **fields: object,
) -> ContainerRecord:
    defaults: dict[str, object] = {
        "started_at": 900.0,
        "finished_at": 990.0 if state is State.EXITED else 0.0,
        "created_at": 900.0 + attempt,
    }
    return ContainerRecord(
        id=f"{name}-{attempt}", name=name, sandbox_id=box, attempt=attempt, state=state,
        **(defaults | fields),
    )  # fmt: skip


def record(
    *containers: ContainerRecord, boxes: tuple[SandboxRecord, ...] | None = None
) -> PodRecord:
    newest_first = tuple(sorted(containers, key=lambda c: -c.created_at))
    return PodRecord(
        "u1", sandboxes=(sandbox(),) if boxes is None else boxes, containers=newest_first
    )


def started(plan: Plan) -> list[tuple[str, int]]:
    return [(start.container.name, start.attempt) for start in plan.starts]


class TestSandbox:
    def test_a_new_pod_gets_a_sandbox_first(self) -> None:
        plan = pod_actions(pod(), PodRecord("u1"), View(), NOW)
        assert plan == Plan(create_sandbox=0)

    def test_a_good_sandbox_gets_the_containers(self) -> None:
        plan = pod_actions(pod(container("a"), container("b")), record(), View(), NOW)
        assert started(plan) == [("a", 0), ("b", 0)]
        assert not plan.kill_pod

    def test_after_a_reboot_the_pod_is_killed_and_gets_the_next_sandbox(self) -> None:
        dead = record(run(state=State.EXITED), boxes=(sandbox(3, ready=False),))
        plan = pod_actions(pod(), dead, View(), NOW)
        assert plan.create_sandbox == 4
        assert started(plan) == []

    def test_the_restart_after_a_new_sandbox_counts_on(self) -> None:
        before = record(run(state=State.EXITED, attempt=2), boxes=(sandbox(1), sandbox(0, False)))
        plan = pod_actions(pod(), before, View(), NOW)
        assert started(plan) == [("web", 3)]

    def test_a_sandbox_without_an_address_is_replaced(self) -> None:
        plan = pod_actions(pod(), record(boxes=(sandbox(ips=()),)), View(), NOW)
        assert (plan.kill_pod, plan.create_sandbox) == (True, 1)

    def test_the_host_network_needs_no_address(self) -> None:
        box = sandbox(ips=(), host_network=True)
        plan = pod_actions(pod(host_network=True), record(boxes=(box,)), View(), NOW)
        assert started(plan) == [("web", 0)]

    def test_two_ready_sandboxes_are_one_too_many(self) -> None:
        plan = pod_actions(pod(), record(boxes=(sandbox(1), sandbox(0))), View(), NOW)
        assert (plan.kill_pod, plan.create_sandbox) == (True, 2)

    @pytest.mark.parametrize(
        ("policy", "code", "again"),
        [("Always", 0, True), ("OnFailure", 1, True), ("OnFailure", 0, False), ("Never", 1, False)],
    )
    def test_a_dead_sandbox_is_replaced_only_if_the_policy_lets_something_run(
        self, policy: str, code: int, again: bool
    ) -> None:
        dead = record(run(state=State.EXITED, exit_code=code), boxes=(sandbox(ready=False),))
        plan = pod_actions(pod(policy=policy), dead, View(), NOW)
        assert (plan.create_sandbox is not None) is again
        assert plan.finished is not again

    def test_a_never_pod_that_the_runtime_lost_is_not_run_twice(self) -> None:
        known = core.ContainerStatus(name="web", container_id="cri://gone", restart_count=0)
        status = core.PodStatus(phase="Running", container_statuses=(known,))
        plan = pod_actions(pod(policy="Never", status=status), PodRecord("u1"), View(), NOW)
        assert plan.finished and plan.lost and plan.create_sandbox is None


class TestRestart:
    @pytest.mark.parametrize(
        ("policy", "code", "restarts"),
        [
            ("Always", 0, True),
            ("Always", 1, True),
            ("OnFailure", 1, True),
            ("OnFailure", 0, False),
            ("Never", 1, False),
        ],
    )
    def test_the_policy_decides(self, policy: str, code: int, restarts: bool) -> None:
        ended = run("a", State.EXITED, exit_code=code)
        plan = pod_actions(
            pod(container("a"), container("b"), policy=policy), record(ended, run("b")), View(), NOW
        )
        assert started(plan) == ([("a", 1)] if restarts else [])
        assert not plan.finished

    def test_all_done_means_finished_and_the_sandbox_goes(self) -> None:
        plan = pod_actions(pod(policy="Never"), record(run(state=State.EXITED)), View(), NOW)
        assert plan == Plan(kill_pod=True, finished=True)

    def test_crash_loop_back_off_holds_a_container_and_says_when(self) -> None:
        view = View(backoffs={"web": BackOff(20.0, updated=985.0)})
        plan = pod_actions(pod(), record(run(state=State.EXITED, attempt=2)), view, NOW)
        assert started(plan) == []
        assert plan.wake_at == 990.0 + 20.0
        assert plan.waiting["web"].reason == "CrashLoopBackOff"
        assert plan.waiting["web"].message == (
            "back-off 20s restarting failed container=web pod=p_default(u1)"
        )

    def test_after_the_back_off_it_starts(self) -> None:
        view = View(backoffs={"web": BackOff(10.0, updated=985.0)})
        plan = pod_actions(pod(), record(run(state=State.EXITED, attempt=2)), view, NOW)
        assert started(plan) == [("web", 3)]

    def test_a_hold_shows_its_reason(self) -> None:
        view = View(holds={"web": Hold(1005.0, "ErrImagePull", "no such host")})
        plan = pod_actions(pod(), record(), view, NOW)
        assert (plan.waiting["web"].reason, plan.wake_at) == ("ErrImagePull", 1005.0)

    def test_a_failed_liveness_probe_kills(self) -> None:
        view = View(liveness_failed=frozenset({"web-0"}))
        plan = pod_actions(pod(), record(run()), view, NOW)
        assert [k.message for k in plan.kills] == [
            "Container web failed liveness probe, will be restarted"
        ]

    def test_a_changed_image_restarts_only_its_container(self) -> None:
        spec = pod(container("a"), container("b"))
        same = run("a", hash=container_hash(spec.spec.containers[0]))
        plan = pod_actions(spec, record(same, run("b", hash="0ldhash0")), View(), NOW)
        assert [k.record.name for k in plan.kills] == ["b"]

    def test_a_kubelet_restart_restarts_nothing(self) -> None:
        spec = pod(container("a"))
        known = run("a", hash=container_hash(spec.spec.containers[0]))
        assert not pod_actions(spec, record(known), View(), NOW).has_work

    def test_the_api_remembers_the_restart_count(self) -> None:
        known = core.ContainerStatus(name="web", container_id="cri://gone", restart_count=4)
        status = core.PodStatus(container_statuses=(known,))
        assert next_attempt(pod(status=status), "web", None) == 5


class TestInit:
    two = (container("i1"), container("i2"))

    def test_one_after_the_other(self) -> None:
        spec = pod(inits=self.two)
        assert started(pod_actions(spec, record(), View(), NOW)) == [("i1", 0)]
        during = record(run("i1"))
        assert not pod_actions(spec, during, View(), NOW).has_work
        after = record(run("i1", State.EXITED))
        assert started(pod_actions(spec, after, View(), NOW)) == [("i2", 0)]

    def test_then_the_main_ones(self) -> None:
        done = record(run("i1", State.EXITED), run("i2", State.EXITED))
        assert started(pod_actions(pod(inits=self.two), done, View(), NOW)) == [("web", 0)]

    def test_a_failed_one_is_tried_again_unless_never(self) -> None:
        failed = record(run("i1", State.EXITED, exit_code=1))
        assert started(pod_actions(pod(inits=self.two), failed, View(), NOW)) == [("i1", 1)]
        never = pod_actions(pod(inits=self.two, policy="Never"), failed, View(), NOW)
        assert never.finished

    def test_init_records_may_be_gone_once_the_main_ones_began(self) -> None:
        plan = pod_actions(pod(inits=self.two), record(run("web")), View(), NOW)
        assert not plan.has_work

    def test_a_sidecar_lets_the_next_go_when_it_has_started(self) -> None:
        sidecar = container("log", restart_policy="Always")
        spec = pod(inits=(sidecar, container("i1")))
        waiting = pod_actions(spec, record(run("log")), View(), NOW)
        assert not waiting.has_work
        ready = View(started=frozenset({"log-0"}))
        assert started(pod_actions(spec, record(run("log")), ready, NOW)) == [("i1", 0)]

    def test_a_sidecar_that_ends_is_restarted_beside_the_main_ones(self) -> None:
        sidecar = container("log", restart_policy="Always")
        spec = pod(inits=(sidecar,), policy="OnFailure")
        plan = pod_actions(spec, record(run("log", State.EXITED), run("web")), View(), NOW)
        assert started(plan) == [("log", 1)]
        assert not plan.kills

    def test_a_sidecar_does_not_keep_a_finished_pod_alive(self) -> None:
        sidecar = container("log", restart_policy="Always")
        spec = pod(inits=(sidecar,), policy="Never")
        plan = pod_actions(spec, record(run("log"), run("web", State.EXITED)), View(), NOW)
        assert plan == Plan(kill_pod=True, finished=True)


def test_the_active_deadline_ends_a_pod() -> None:
    status = core.PodStatus(start_time="1970-01-01T00:00:10Z")
    spec = pod(status=status, active_deadline_seconds=60)
    assert not pod_actions(spec, record(run()), View(), 69.0).finished
    plan = pod_actions(spec, record(run()), View(), 70.0)
    assert plan.deadline_exceeded and plan.kill_pod


def test_a_terminal_phase_never_runs_again() -> None:
    plan = pod_actions(pod(status=core.PodStatus(phase="Failed")), PodRecord("u1"), View(), NOW)
    assert plan == Plan(finished=True)


def test_prune_keeps_two_runs_and_the_sandboxes_in_use() -> None:
    runs = [run(state=State.EXITED, attempt=n, box=f"s{min(n, 1)}") for n in range(3)]
    boxes = (sandbox(2), sandbox(1, False), sandbox(0, False))
    assert prune(record(*runs, boxes=boxes)) == (("web-0",), ("s0",))


def test_plans_are_values() -> None:
    spec, state = pod(inits=(container("i"),)), record()
    assert pod_actions(spec, state, View(), NOW) == pod_actions(
        msgspec.structs.replace(spec), state, View(), NOW
    )


class TestBackOff:
    def test_it_doubles_to_five_minutes(self) -> None:
        entry, delays = None, []
        for crash in range(8):
            entry = advance(entry, event=float(crash), now=float(crash))
            delays.append(entry.delay)
        assert delays == [10, 20, 40, 80, 160, 300, 300, 300]

    def test_ten_good_minutes_wipe_the_slate(self) -> None:
        old = BackOff(300.0, updated=0.0)
        assert advance(old, event=601.0, now=602.0).delay == 10.0
        assert advance(old, event=599.0, now=602.0).delay == 300.0

    @pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (160, "2m40s"), (300, "5m0s")])
    def test_durations_read_like_gos(self, seconds: float, text: str) -> None:
        assert describe(seconds) == text
