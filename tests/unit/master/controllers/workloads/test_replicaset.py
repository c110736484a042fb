"""ReplicaSets: how many pods, which go first, and no doubles while the cache is behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.apps import ReplicaSet, ReplicaSetSpec
from kube.api.core import ContainerStatus, Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec
from kube.api.meta import LabelSelector, ObjectMeta
from kube.machinery.selectors import from_label_selector
from kube.machinery.times import format_time
from master.controllers.machinery.expectations import TIMEOUT_SECONDS, Expectations
from master.controllers.machinery.ownership import claim, controller_ref
from master.controllers.machinery.pods import is_active
from master.controllers.workloads import replicaset_plan as planning

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
LABELS = {"app": "web"}


def replicaset(replicas: int, min_ready_seconds: int = 0) -> ReplicaSet:
    return ReplicaSet(
        metadata=ObjectMeta(name="web", namespace="ns", uid="rs-uid", generation=3),
        spec=ReplicaSetSpec(
            replicas=replicas,
            min_ready_seconds=min_ready_seconds,
            selector=LabelSelector(match_labels=LABELS),
            template=PodTemplateSpec(metadata=ObjectMeta(labels=LABELS)),
        ),
    )


def pod(
    name: str,
    phase: str = "Running",
    ready_for: float | None = 60,
    node: str = "w1",
    age: float = 60,
    deleting: bool = False,
    cost: str = "",
    restarts: int = 0,
    owner: ReplicaSet | None = None,
    labels: dict[str, str] | None = None,
) -> Pod:
    conditions: tuple[PodCondition, ...] = ()
    if ready_for is not None:
        since = format_time(NOW - timedelta(seconds=ready_for))
        conditions = (PodCondition(type="Ready", status="True", last_transition_time=since),)
    return Pod(
        metadata=ObjectMeta(
            name=name, namespace="ns", uid=f"uid-{name}", labels=labels or LABELS,
            creation_timestamp=format_time(NOW - timedelta(seconds=age)),
            deletion_timestamp=format_time(NOW) if deleting else "",
            annotations={planning.DELETION_COST: cost} if cost else {},
            owner_references=(controller_ref(owner),) if owner else (),
        ),
        spec=PodSpec(node_name=node),
        status=PodStatus(
            phase=phase, conditions=conditions,
            container_statuses=(ContainerStatus(restart_count=restarts),),
        ),
    )  # fmt: skip


def test_missing_pods_are_created_and_finished_or_leaving_ones_are_missing() -> None:
    pods = [pod("a"), pod("b", deleting=True), pod("c", phase="Failed"), pod("d", "Succeeded")]
    assert planning.plan(replicaset(4), pods, pods, NOW) == planning.Plan(create=3)


@pytest.mark.parametrize(
    ("victim", "other"),
    [
        (pod("z", node="", phase="Pending", ready_for=None), pod("a", "Pending", None)),
        (pod("z", "Pending", None), pod("a", "Running", None)),
        (pod("z", ready_for=None), pod("a")),
        (pod("z", cost="-5"), pod("a")),
        (pod("z", ready_for=2), pod("a", ready_for=86400)),
        (pod("z", restarts=4), pod("a", restarts=1)),
        (pod("z", age=2), pod("a", age=86400)),
    ],
    ids=["unscheduled", "pending", "not-ready", "cheap", "newly-ready", "restarting", "young"],
)
def test_the_pod_whose_loss_hurts_least_goes_first(victim: Pod, other: Pod) -> None:
    pods = [other, victim]
    assert planning.plan(replicaset(1), pods, pods, NOW).delete == (victim,)


def test_crowded_nodes_give_first() -> None:
    pods = [pod("a", node="w1"), pod("b", node="w2"), pod("c", node="w2")]
    (victim,) = planning.plan(replicaset(2), pods, pods, NOW).delete
    assert victim.spec.node_name == "w2"


@given(
    wanted=st.integers(0, 12),
    states=st.lists(st.tuples(st.sampled_from(["Running", "Pending", "Failed"]), st.booleans())),
)
def test_a_plan_carried_out_leaves_nothing_to_do(
    wanted: int, states: list[tuple[str, bool]]
) -> None:
    rs = replicaset(wanted)
    pods = [pod(f"p{i}", phase, deleting=gone) for i, (phase, gone) in enumerate(states)]
    plan = planning.plan(rs, pods, pods, NOW)
    doomed = {one.metadata.uid for one in plan.delete}
    after = [one for one in pods if one.metadata.uid not in doomed]
    after += [pod(f"new{i}") for i in range(plan.create)]
    assert sum(is_active(one) for one in after) == wanted
    assert planning.plan(rs, after, after, NOW) == planning.Plan()
    assert not (plan.create and plan.delete)


def test_the_status_counts_ready_and_available_apart() -> None:
    rs = replicaset(4, min_ready_seconds=30)
    pods = [pod("a"), pod("b", ready_for=5), pod("c", ready_for=None), pod("d", deleting=True)]
    status = planning.status(rs, pods, None, NOW)
    assert (status.replicas, status.ready_replicas, status.available_replicas) == (3, 2, 1)
    assert status.fully_labeled_replicas == 3
    assert status.observed_generation == 3
    assert planning.next_availability(rs, pods, NOW) == pytest.approx(25)


def test_a_failure_is_a_condition_that_goes_when_it_is_over() -> None:
    rs = replicaset(1)
    failed = planning.status(rs, [], ("FailedCreate", "quota"), NOW)
    assert failed.conditions[0].type == "ReplicaFailure"
    assert failed.conditions[0].reason == "FailedCreate"
    rs = msgspec.structs.replace(rs, status=failed)
    assert planning.status(rs, [], None, NOW).conditions == ()


def test_a_pod_carries_its_template_and_its_owner() -> None:
    made = planning.new_pod(replicaset(1))
    assert made.metadata.generate_name == "web-"
    assert made.metadata.labels == LABELS
    assert made.metadata.owner_references[0].uid == "rs-uid"
    assert made.metadata.owner_references[0].block_owner_deletion


def test_claiming_adopts_matching_orphans_and_releases_strays() -> None:
    rs = replicaset(1)
    other = msgspec.structs.replace(
        rs, metadata=msgspec.structs.replace(rs.metadata, uid="other-uid")
    )
    mine, stray = pod("mine", owner=rs), pod("stray", owner=rs, labels={"app": "x"})
    orphan, foreign = pod("orphan"), pod("foreign", owner=other)
    leaving, unrelated = pod("leaving", deleting=True), pod("unrelated", labels={"app": "y"})
    selector = from_label_selector(rs.spec.selector)
    assert selector is not None
    found = claim(rs, selector, [mine, stray, orphan, foreign, leaving, unrelated])
    assert (found.owned, found.adopt, found.release) == ((mine,), (orphan,), (stray,))


def test_expectations_hold_until_everything_was_seen() -> None:
    expectations = Expectations()
    assert expectations.satisfied("k", 0.0)
    expectations.expect("k", 2, {"uid-a"}, now=0.0)
    expectations.created("k")
    expectations.deleted("k", "uid-a")
    assert not expectations.satisfied("k", 1.0)
    expectations.deleted("k", "uid-unknown")
    expectations.created("k")
    assert expectations.satisfied("k", 1.0)


def test_expectations_that_are_never_met_expire() -> None:
    expectations = Expectations()
    expectations.expect("k", 1, set(), now=0.0)
    assert not expectations.satisfied("k", TIMEOUT_SECONDS)
    assert expectations.satisfied("k", TIMEOUT_SECONDS + 1)
