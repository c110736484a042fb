"""Nodes: when one is lost, what taints follow, and when nobody may be evicted."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.coordination import Lease, LeaseSpec
from kube.api.core import (
    Node,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    Pod,
    PodSpec,
    PodStatus,
    Taint,
    Toleration,
)
from kube.api.meta import ObjectMeta
from master.controllers.lifecycle.podgc import OUT_OF_SERVICE, plan
from master.controllers.nodes import node_health as health
from master.controllers.nodes.nodeipam import CidrSet, complaint
from master.controllers.nodes.tainteviction import patience

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
MINE = Taint(key="team", value="blue", effect="NoSchedule")


def node(ready: str = "True", heartbeat: str = "1", taints: tuple[Taint, ...] = ()) -> Node:
    conditions: tuple[NodeCondition, ...] = ()
    if ready:
        conditions = (
            NodeCondition(type="Ready", status=ready, last_heartbeat_time=heartbeat),
            NodeCondition(type="MemoryPressure", status="False"),
        )
    return Node(
        metadata=ObjectMeta(name="w1"),
        spec=NodeSpec(taints=taints),
        status=NodeStatus(conditions=conditions),
    )


def lease(renewed: str) -> Lease:
    return Lease(spec=LeaseSpec(renew_time=renewed))


def keys(taints: tuple[Taint, ...]) -> set[tuple[str, str]]:
    return {(taint.key, taint.effect) for taint in taints}


def test_a_change_is_a_heartbeat_whatever_its_clock_says() -> None:
    first = health.observe(None, node(), lease("2026"), 10.0)
    assert first.probed == 10.0
    same = health.observe(first, node(), lease("2026"), 20.0)
    assert same.probed == 10.0
    renewed = health.observe(same, node(), lease("1999"), 30.0)
    assert renewed.probed == 30.0
    posted = health.observe(renewed, node(heartbeat="2"), lease("1999"), 40.0)
    assert posted.probed == 40.0


def test_our_own_verdict_is_no_sign_of_life() -> None:
    known = health.observe(None, node(), None, 10.0)
    marked = health.observe(known, node("Unknown"), None, 20.0)
    assert marked.probed == 10.0
    back = health.observe(marked, node("True", "2"), None, 30.0)
    assert back.probed == 30.0


def test_a_node_that_never_reported_gets_the_startup_grace() -> None:
    known = health.Health(probed=100.0)
    assert health.deadline(node(), known, 5.0, 60.0) == 105.0
    assert health.deadline(node(ready=""), known, 5.0, 60.0) == 160.0


def test_a_lost_nodes_conditions_are_unknown_and_then_stay() -> None:
    conditions = health.lost_conditions(node(), NOW)
    assert conditions is not None
    by_type = {c.type: (c.status, c.reason) for c in conditions}
    assert by_type["Ready"] == ("Unknown", "NodeStatusUnknown")
    assert by_type["PIDPressure"] == ("Unknown", "NodeStatusNeverUpdated")
    lost = Node(status=NodeStatus(conditions=conditions))
    assert health.lost_conditions(lost, NOW) is None


@pytest.mark.parametrize(
    ("ready", "evict", "expected"),
    [
        ("True", True, set()),
        ("Unknown", True, {(health.UNREACHABLE, "NoSchedule"), (health.UNREACHABLE, "NoExecute")}),
        ("Unknown", False, {(health.UNREACHABLE, "NoSchedule")}),
        ("False", True, {(health.NOT_READY, "NoSchedule"), (health.NOT_READY, "NoExecute")}),
    ],
)
def test_taints_follow_the_ready_condition_and_the_users_stay(
    ready: str, evict: bool, expected: set[tuple[str, str]]
) -> None:
    wanted = health.wanted_taints(node(ready, taints=(MINE,)), evict=evict, now=NOW)
    assert keys(wanted) == expected | {("team", "NoSchedule")}
    settled = node(ready, taints=wanted)
    assert health.wanted_taints(settled, evict=evict, now=NOW) == wanted


def test_a_return_takes_all_of_our_taints_off() -> None:
    lost = health.wanted_taints(node("Unknown", taints=(MINE,)), evict=True, now=NOW)
    assert health.wanted_taints(node("True", taints=lost), evict=True, now=NOW) == (MINE,)


def test_a_cordoned_node_is_tainted_so() -> None:
    spec = NodeSpec(unschedulable=True)
    cordoned = msgspec.structs.replace(node(), spec=spec)
    wanted = health.wanted_taints(cordoned, evict=True, now=NOW)
    assert keys(wanted) == {(health.UNSCHEDULABLE, "NoSchedule")}


@pytest.mark.parametrize(
    ("ready", "lost", "state"),
    [
        (3, 0, health.NORMAL), (2, 1, health.NORMAL), (1, 2, health.NORMAL),
        (2, 3, health.PARTIAL), (9, 3, health.NORMAL), (0, 1, health.FULL), (0, 5, health.FULL),
    ],
)  # fmt: skip
def test_zone_states(ready: int, lost: int, state: str) -> None:
    nodes = [node("True")] * ready + [node("Unknown")] * lost
    assert health.zone_state(nodes, 0.55) == state


def test_small_partly_lost_zones_stop_evicting_large_ones_slow_down() -> None:
    assert health.eviction_rate(health.PARTIAL, 10, 0.1, 0.01, 50) == 0.0
    assert health.eviction_rate(health.PARTIAL, 51, 0.1, 0.01, 50) == 0.01
    assert health.eviction_rate(health.NORMAL, 10, 0.1, 0.01, 50) == 0.1


@given(st.lists(st.floats(0, 100), max_size=30), st.sampled_from([0.0, 0.1, 2.0]))
def test_the_bucket_never_gives_more_than_its_rate(steps: list[float], rate: float) -> None:
    bucket, given_out, now = health.Bucket(), 0, 0.0
    for step in steps:
        now += step
        bucket, allowed = bucket.take(rate, now)
        given_out += allowed
    assert given_out <= (1 + now * rate if rate else 0) + 1e-6


# -- taint eviction

EXECUTE = Taint(key=health.UNREACHABLE, effect="NoExecute")
OTHER = Taint(key="gpu-broken", value="yes", effect="NoExecute")


def toleration(seconds: int | None, key: str = health.UNREACHABLE) -> Toleration:
    return Toleration(key=key, operator="Exists", effect="NoExecute", toleration_seconds=seconds)


@pytest.mark.parametrize(
    ("taints", "tolerations", "seconds"),
    [
        ((EXECUTE,), (), 0.0),
        ((EXECUTE,), (toleration(300),), 300.0),
        ((EXECUTE,), (toleration(None),), None),
        ((EXECUTE,), (toleration(-5),), 0.0),
        ((EXECUTE, OTHER), (toleration(300),), 0.0),
        ((EXECUTE, OTHER), (toleration(300), toleration(5, "gpu-broken")), 5.0),
        ((EXECUTE,), (Toleration(operator="Exists"),), None),
        ((OTHER,), (Toleration(key="gpu-broken", value="no", effect="NoExecute"),), 0.0),
        ((OTHER,), (Toleration(key="gpu-broken", value="yes"),), None),
    ],
)
def test_patience_is_the_shortest_toleration_of_all_taints(
    taints: tuple[Taint, ...], tolerations: tuple[Toleration, ...], seconds: float | None
) -> None:
    assert patience(taints, tolerations) == seconds


# -- pod garbage


def gone_pod(name: str, phase: str = "Running", on: str = "w1", deleting: bool = False) -> Pod:
    return Pod(
        metadata=ObjectMeta(
            name=name, uid=name, creation_timestamp=name,
            deletion_timestamp="2026" if deleting else "",
        ),
        spec=PodSpec(node_name=on),
        status=PodStatus(phase=phase),
    )  # fmt: skip


def test_pod_garbage_is_what_nobody_else_cleans_up() -> None:
    out = node("Unknown", taints=(Taint(key=OUT_OF_SERVICE, effect="NoExecute"),))
    pods = [
        gone_pod("alive"),
        gone_pod("orphan", on="gone"),
        gone_pod("unsure", on="just-missing"),
        gone_pod("never-scheduled", on="", deleting=True),
        gone_pod("waiting", on=""),
        gone_pod("stuck", on="out", deleting=True),
        gone_pod("leaving", deleting=True),
    ]
    doomed = plan(pods, {"w1": node(), "out": out}, {"gone"}, 0)
    assert {(d.pod.metadata.name, d.reason) for d in doomed} == {
        ("orphan", "orphaned"), ("never-scheduled", "unscheduled"), ("stuck", "out-of-service"),
    }  # fmt: skip


def test_only_the_oldest_finished_pods_beyond_the_threshold_go() -> None:
    pods = [gone_pod(f"2026-0{i}", "Succeeded") for i in (3, 1, 2)] + [gone_pod("2025")]
    assert [d.pod.metadata.name for d in plan(pods, {"w1": node()}, (), 2)] == ["2026-01"]
    assert plan(pods, {"w1": node()}, (), 0) == []


# -- node subnets


def test_subnets_are_given_lowest_first_and_never_twice() -> None:
    cidrs = CidrSet("10.244.0.0/22", 24)
    used: list[str] = []
    for third in range(4):
        cidr = cidrs.lowest_free(used)
        assert cidr == f"10.244.{third}.0/24"
        used.append(str(cidr))
    assert cidrs.lowest_free(used) is None
    used.remove("10.244.1.0/24")
    assert cidrs.lowest_free(used) == "10.244.1.0/24"


def test_subnets_of_another_size_or_network_are_respected() -> None:
    cidrs = CidrSet("10.244.0.0/22", 24)
    foreign = ["10.244.0.0/23", "192.168.0.0/16", "garbage", "fd00::/64", ""]
    assert cidrs.lowest_free(foreign) == "10.244.2.0/24"
    assert cidrs.lowest_free(["10.0.0.0/8"]) is None
    with pytest.raises(ValueError, match="node-cidr-mask-size"):
        CidrSet("10.244.0.0/24", 20)


def test_ranges_that_were_not_given_out_are_complained_of() -> None:
    cidrs = CidrSet("10.244.0.0/16", 24)

    def holder(name: str, cidr: str, created: str = "2026-01-02T00:00:00Z") -> Node:
        meta = ObjectMeta(name=name, creation_timestamp=created)
        return Node(metadata=meta, spec=NodeSpec(pod_cidr=cidr))

    good = holder("w1", "10.244.1.0/24", "2026-01-01T00:00:00Z")
    thief = holder("a", "10.244.1.0/24")
    assert complaint(good, [], cidrs) == complaint(good, [thief], cidrs) == ""
    assert complaint(thief, [good], cidrs) == "podCIDR 10.244.1.0/24 belongs to node w1"
    for cidr in ("10.0.0.0/8", "10.244.0.0/16", "10.244.1.0/25", "192.168.1.0/24"):
        text = f"podCIDR {cidr} is no /24 of the cluster CIDR 10.244.0.0/16"
        assert complaint(holder("x", cidr), [], cidrs) == text
    assert "no range" in complaint(holder("x", "garbage"), [], cidrs)
