"""Deployments: a simulated roll-out never leaves its bounds and always arrives."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.api.apps import (
    Deployment,
    DeploymentSpec,
    DeploymentStatus,
    DeploymentStrategy,
    ReplicaSet,
    ReplicaSetStatus,
    RollingUpdateDeployment,
)
from kube.api.core import Container, Pod, PodSpec, PodStatus, PodTemplateSpec
from kube.api.meta import LabelSelector, ObjectMeta, OwnerReference
from master.controllers.workloads import deployment_rolling as rolling
from master.controllers.workloads import deployment_status as statuses
from master.controllers.workloads.deployment_revision import (
    HASH_LABEL,
    REVISION,
    REVISION_HISTORY,
    find_new,
    replicas_of,
    revision_of,
    template_hash,
)

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def template(image: str) -> PodTemplateSpec:
    return PodTemplateSpec(
        metadata=ObjectMeta(labels={"app": "web"}),
        spec=PodSpec(containers=(Container(name="c", image=image),)),
    )


def deployment(
    replicas: int = 4,
    image: str = "web:1",
    surge: int | str = "25%",
    unavailable: int | str = "25%",
    strategy: str = "RollingUpdate",
    **spec: object,
) -> Deployment:
    update = RollingUpdateDeployment(max_surge=surge, max_unavailable=unavailable)
    return Deployment(
        metadata=ObjectMeta(name="web", namespace="ns", uid="d-uid", generation=1),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(match_labels={"app": "web"}),
            template=template(image),
            strategy=DeploymentStrategy(
                type=strategy, rolling_update=update if strategy == "RollingUpdate" else None
            ),
            progress_deadline_seconds=600,
            **spec,
        ),
    )


class Cluster:
    """ReplicaSets that follow their spec, one chance step at a time, as a real one would."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.sets: dict[str, ReplicaSet] = {}
        self.clock = 0

    @property
    def available(self) -> int:
        return sum(rs.status.available_replicas or 0 for rs in self.sets.values())

    @property
    def total(self) -> int:
        return sum(max(rs.status.replicas or 0, replicas_of(rs)) for rs in self.sets.values())

    def apply(self, action: rolling.Action) -> None:
        rs = action.replicaset
        name = rs.metadata.name
        if isinstance(action, rolling.Delete):
            del self.sets[name]
            return
        if isinstance(action, rolling.Create):
            assert name not in self.sets
            self.clock += 1
            born = f"2026-01-01T00:00:{self.clock:02}Z"
            meta = msgspec.structs.replace(rs.metadata, uid=f"uid-{name}", creation_timestamp=born)
            rs = msgspec.structs.replace(rs, metadata=meta)
        self.sets[name] = rs

    def sync(self, wanted: Deployment) -> list[rolling.Action]:
        actions = rolling.plan(wanted, list(self.sets.values()), [])
        for action in actions:
            self.apply(action)
        return actions

    def step(self) -> None:
        """One ReplicaSet gains or loses a pod, or one of its pods becomes available."""
        moves = []
        for name, rs in self.sets.items():
            have, up = rs.status.replicas or 0, rs.status.available_replicas or 0
            if have < replicas_of(rs):
                moves.append((name, have + 1, up))
            if have > replicas_of(rs):
                moves.append((name, have - 1, min(up, have - 1)))
            if up < min(have, replicas_of(rs)):
                moves.append((name, have, up + 1))
        if moves:
            self.set_status(*self.rng.choice(moves))

    def set_status(self, name: str, replicas: int, available: int) -> None:
        rs = self.sets[name]
        status = ReplicaSetStatus(
            replicas=replicas, available_replicas=available, ready_replicas=available,
            observed_generation=rs.metadata.generation,
        )  # fmt: skip
        self.sets[name] = msgspec.structs.replace(rs, status=status)

    def settle(self, wanted: Deployment, rounds: int = 400) -> None:
        for _ in range(rounds):
            self.sync(wanted)
            self.step()


def sizes(cluster: Cluster) -> dict[str, int]:
    return {
        rs.spec.template.spec.containers[0].image: replicas_of(rs) for rs in cluster.sets.values()
    }


@settings(max_examples=60)
@given(
    replicas=st.integers(1, 10),
    surge=st.sampled_from([0, 1, 3, "25%", "100%"]),
    unavailable=st.sampled_from([0, 1, 2, "25%", "50%"]),
    seed=st.integers(0, 1000),
)
def test_a_roll_out_keeps_its_bounds_at_every_step_and_arrives(
    replicas: int, surge: int | str, unavailable: int | str, seed: int
) -> None:
    cluster = Cluster(seed)
    old = deployment(replicas, "web:1", surge, unavailable)
    cluster.settle(old)
    assert cluster.available == replicas
    new = deployment(replicas, "web:2", surge, unavailable)
    limits = rolling.bounds(new)
    for _ in range(400):
        cluster.sync(new)
        assert sum(replicas_of(rs) for rs in cluster.sets.values()) <= replicas + limits.surge
        cluster.step()
        assert cluster.available >= replicas - limits.unavailable
    assert sizes(cluster) == {"web:1": 0, "web:2": replicas}
    assert cluster.sync(new) == []


def test_broken_pods_do_not_hold_up_the_way_back() -> None:
    """A bad image stops the roll-out with minimum availability, and undo repairs it."""
    cluster = Cluster()
    good = deployment(4, "web:1")
    cluster.settle(good)
    bad = deployment(4, "web:bad")
    for _ in range(20):
        cluster.sync(bad)
        for name, rs in list(cluster.sets.items()):
            works = rs.spec.template.spec.containers[0].image != "web:bad"
            cluster.set_status(name, replicas_of(rs), replicas_of(rs) if works else 0)
    assert sizes(cluster) == {"web:1": 3, "web:bad": 2}
    cluster.settle(good)
    assert sizes(cluster) == {"web:1": 4, "web:bad": 0}


def test_new_pods_that_are_not_available_yet_do_not_pay_for_removing_old_ones() -> None:
    cluster = Cluster()
    cluster.settle(deployment(10, "web:1", surge=2, unavailable=2))
    (old,) = cluster.sets
    cluster.set_status(old, 10, 6)
    wanted = deployment(10, "web:2", surge=2, unavailable=2)
    cluster.sync(wanted)
    cluster.sync(wanted)
    assert sizes(cluster) == {"web:1": 8, "web:2": 2}


def test_revisions_count_up_and_a_roll_back_takes_the_newest() -> None:
    cluster = Cluster()
    for image in ("web:1", "web:2", "web:1"):
        cluster.settle(deployment(2, image))
    new = find_new(deployment(2, "web:1"), list(cluster.sets.values()))
    assert new is not None
    assert revision_of(new) == 3
    assert new.metadata.annotations[REVISION_HISTORY] == "1"


def test_the_history_is_limited_to_the_newest_empty_ones() -> None:
    cluster = Cluster()
    for number in range(6):
        cluster.settle(deployment(1, f"web:{number}", revision_history_limit=2))
    cluster.settle(deployment(1, "web:5", revision_history_limit=2))
    assert set(sizes(cluster)) == {"web:3", "web:4", "web:5"}


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    cluster = Cluster()
    cluster.settle(deployment(4, "web:1"))
    cluster.settle(deployment(6, "web:2", paused=True))
    assert sizes(cluster) == {"web:1": 6}


def test_scaling_in_the_middle_of_a_roll_out_is_proportional() -> None:
    cluster = Cluster()
    cluster.settle(deployment(10, "web:1", surge=3, unavailable=2))
    middle = deployment(10, "web:2", surge=3, unavailable=2)
    cluster.sync(middle)
    cluster.sync(middle)
    assert sizes(cluster) == {"web:1": 8, "web:2": 3} or sum(sizes(cluster).values()) <= 13
    before = sizes(cluster)
    larger = deployment(20, "web:2", surge=3, unavailable=2)
    cluster.sync(larger)
    after = sizes(cluster)
    assert sum(after.values()) == 23
    assert after["web:1"] > before["web:1"]
    assert after["web:2"] > before["web:2"]


def test_recreate_waits_for_the_last_old_pod() -> None:
    cluster = Cluster()
    cluster.settle(deployment(2, "web:1", strategy="Recreate"))
    wanted = deployment(2, "web:2", strategy="Recreate")
    assert cluster.sync(wanted)
    assert sizes(cluster) == {"web:1": 0}
    old = next(iter(cluster.sets.values()))
    lingering = Pod(
        metadata=ObjectMeta(name="p", owner_references=(OwnerReference(uid=old.metadata.uid),)),
        status=PodStatus(phase="Running"),
    )
    assert rolling.plan(wanted, list(cluster.sets.values()), [lingering]) == []
    (action,) = rolling.plan(wanted, list(cluster.sets.values()), [])
    assert isinstance(action, rolling.Create)
    assert replicas_of(action.replicaset) == 2


@pytest.mark.parametrize(
    ("surge", "unavailable", "expected"),
    [
        ("25%", "25%", (1, 1)), ("30%", "30%", (2, 1)), (0, 0, (0, 1)), ("0%", "10%", (0, 1)),
        (2, 0, (2, 0)),
    ],
)  # fmt: skip
def test_percentages_round_up_for_surge_and_down_for_unavailable(
    surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    limits = rolling.bounds(deployment(4, surge=surge, unavailable=unavailable))
    assert (limits.surge, limits.unavailable) == expected


def test_the_hash_depends_on_the_template_alone_and_on_collisions() -> None:
    one, other = template("web:1"), template("web:2")
    assert template_hash(one, 0) == template_hash(template("web:1"), 0)
    assert len({template_hash(one, 0), template_hash(other, 0), template_hash(one, 1)}) == 3
    assert template_hash(one, 0).isalnum()


def test_a_new_replicaset_is_labelled_selected_and_owned() -> None:
    (action,) = rolling.plan(deployment(), [], [])
    assert isinstance(action, rolling.Create)
    rs = action.replicaset
    digest = rs.metadata.labels[HASH_LABEL]
    assert rs.metadata.name == f"web-{digest}"
    assert rs.spec.selector is not None
    assert rs.spec.selector.match_labels == {"app": "web", HASH_LABEL: digest}
    assert rs.spec.template.metadata.labels == {"app": "web", HASH_LABEL: digest}
    assert rs.metadata.annotations[REVISION] == "1"
    assert rs.metadata.owner_references[0].uid == "d-uid"


# -- status


def progress(wanted: Deployment, cluster: Cluster, now: datetime) -> Deployment:
    status = statuses.status(wanted, list(cluster.sets.values()), "", now)
    return msgspec.structs.replace(wanted, status=status)


def reasons(one: Deployment) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in one.status.conditions}


def test_conditions_follow_a_roll_out_to_its_end() -> None:
    cluster, wanted = Cluster(), deployment(2)
    cluster.sync(wanted)
    wanted = progress(wanted, cluster, NOW)
    assert reasons(wanted) == {
        "Available": ("False", "MinimumReplicasUnavailable"),
        "Progressing": ("True", "FoundNewReplicaSet"),
    }
    (name,) = cluster.sets
    cluster.set_status(name, 2, 1)
    wanted = progress(wanted, cluster, NOW + timedelta(seconds=5))
    assert reasons(wanted)["Progressing"] == ("True", "ReplicaSetUpdated")
    cluster.set_status(name, 2, 2)
    wanted = progress(wanted, cluster, NOW + timedelta(seconds=9))
    assert reasons(wanted) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert wanted.status == DeploymentStatus(
        observed_generation=1, replicas=2, updated_replicas=2, ready_replicas=2,
        available_replicas=2, unavailable_replicas=0, conditions=wanted.status.conditions,
    )  # fmt: skip
    # A pod that fails later is no failed roll-out.
    cluster.set_status(name, 2, 1)
    later = progress(wanted, cluster, NOW + timedelta(hours=2))
    assert reasons(later)["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_a_roll_out_without_progress_misses_its_deadline() -> None:
    cluster, wanted = Cluster(), deployment(2)
    cluster.sync(wanted)
    wanted = progress(wanted, cluster, NOW)
    assert statuses.awaits_deadline(wanted, wanted.status)
    assert statuses.seconds_to_deadline(wanted, wanted.status, NOW) == 600
    late = progress(wanted, cluster, NOW + timedelta(seconds=601))
    assert reasons(late)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert not statuses.awaits_deadline(late, late.status)


def test_pausing_and_resuming_show_and_restart_the_clock() -> None:
    cluster, wanted = Cluster(), deployment(2)
    cluster.sync(wanted)
    wanted = progress(wanted, cluster, NOW)
    spec = msgspec.structs.replace(wanted.spec, paused=True)
    paused = progress(msgspec.structs.replace(wanted, spec=spec), cluster, NOW)
    assert reasons(paused)["Progressing"] == ("Unknown", "DeploymentPaused")
    spec = msgspec.structs.replace(wanted.spec, paused=None)
    later = NOW + timedelta(hours=1)
    resumed = progress(msgspec.structs.replace(paused, spec=spec), cluster, later)
    assert reasons(resumed)["Progressing"] == ("Unknown", "DeploymentResumed")


def test_the_same_state_gives_the_same_status() -> None:
    cluster, wanted = Cluster(), deployment(3)
    cluster.settle(wanted)
    first = progress(wanted, cluster, NOW)
    second = progress(first, cluster, NOW + timedelta(minutes=5))
    assert first.status == second.status
