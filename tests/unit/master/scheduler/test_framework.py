"""One scheduling decision: what fits, what scores best, and the words for what does not fit."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.api.core import (
    Affinity,
    Container,
    ContainerPort,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    NodeSpec,
    NodeStatus,
    Pod,
    PodAffinityTerm,
    PodAntiAffinity,
    PodSpec,
    ResourceRequirements,
    Taint,
    Toleration,
    TopologySpreadConstraint,
)
from kube.api.meta import LabelSelector, ObjectMeta, OwnerReference
from master.scheduler.cache import Cache
from master.scheduler.framework import Framework, explain, feasible_limit
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugins import default_plugins
from master.scheduler.podinfo import pod_info, pod_requests

CONTROL_PLANE = Taint(key="node-role.kubernetes.io/control-plane", effect="NoSchedule")


def node(
    name: str,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: int = 110,
    taints: tuple[Taint, ...] = (),
    unschedulable: bool | None = None,
    **labels: str,
) -> Node:
    all_labels = {"kubernetes.io/hostname": name} | labels
    return Node(
        metadata=ObjectMeta(name=name, labels=all_labels),
        spec=NodeSpec(taints=taints, unschedulable=unschedulable),
        status=NodeStatus(allocatable={"cpu": cpu, "memory": memory, "pods": str(pods)}),
    )


def pod(
    name: str,
    cpu: str = "",
    memory: str = "",
    owner: str = "",
    labels: dict[str, str] | None = None,
    host_port: int | None = None,
    **spec: object,
) -> Pod:
    requests: dict[str, str | int | float] = {}
    if cpu:
        requests["cpu"] = cpu
    if memory:
        requests["memory"] = memory
    ports = (ContainerPort(container_port=80, host_port=host_port),) if host_port else ()
    container = Container(name="c", resources=ResourceRequirements(requests=requests), ports=ports)
    refs = (OwnerReference(uid=owner, controller=True, kind="ReplicaSet"),) if owner else ()
    return Pod(
        metadata=ObjectMeta(
            name=name, namespace="default", uid=f"uid-{name}", labels=labels or {},
            owner_references=refs,
        ),
        spec=PodSpec(containers=(container,), **spec),
    )  # fmt: skip


class World:
    """A cache and a framework: schedules pods one after the other."""

    def __init__(self, *nodes: Node, seed: int = 1) -> None:
        self.cache = Cache()
        for one in nodes:
            self.cache.set_node(one)
        self.framework = Framework(default_plugins(), random.Random(seed))

    def place(self, one: Pod) -> str:
        info = pod_info(one)
        decision = self.framework.schedule(info, self.cache.nodes())
        if decision.node:
            self.cache.assume(info, decision.node)
        return decision.node

    def why(self, one: Pod) -> str:
        return explain(self.framework.schedule(pod_info(one), self.cache.nodes()))


def test_the_reasons_read_as_upstreams() -> None:
    world = World(node("m1", taints=(CONTROL_PLANE,)), node("w1", cpu="1"), node("w2", cpu="1"))
    assert world.why(pod("big", cpu="2")) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint "
        "{node-role.kubernetes.io/control-plane: }, 2 Insufficient cpu. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


def test_resources_that_others_hold_could_be_freed() -> None:
    world = World(node("w1", cpu="1"))
    assert world.place(pod("first", cpu="800m")) == "w1"
    assert "1 No preemption victims found for incoming pod." in world.why(pod("b", cpu="500m"))


def test_without_nodes_the_message_says_so() -> None:
    assert World().why(pod("a")) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (node("w1", unschedulable=True), "node(s) were unschedulable"),
        (node("w1", pods=0), "Too many pods"),
        (node("w1", memory="1Mi"), "Insufficient memory"),
    ],
)
def test_each_filter_names_its_reason(one: Node, reason: str) -> None:
    assert f"1 {reason}." in World(one).why(pod("a", memory="1Gi"))


def test_a_toleration_opens_a_tainted_node() -> None:
    world = World(node("m1", taints=(CONTROL_PLANE,)))
    toleration = Toleration(key=CONTROL_PLANE.key, operator="Exists", effect="NoSchedule")
    assert world.place(pod("a")) == ""
    assert world.place(pod("b", tolerations=(toleration,))) == "m1"


def test_node_selector_and_affinity_choose_by_label() -> None:
    world = World(node("w1", disk="hdd"), node("w2", disk="ssd"))
    assert world.place(pod("a", node_selector={"disk": "ssd"})) == "w2"
    term = NodeSelectorTerm(
        match_expressions=(NodeSelectorRequirement(key="disk", operator="NotIn", values=("ssd",)),)
    )
    affinity = Affinity(
        node_affinity=NodeAffinity(
            required_during_scheduling_ignored_during_execution=NodeSelector(
                node_selector_terms=(term,)
            )
        )
    )
    assert world.place(pod("b", affinity=affinity)) == "w1"
    assert "didn't match Pod's node affinity/selector" in world.why(
        pod("c", node_selector={"disk": "nvme"})
    )


def test_a_host_port_is_given_once_per_node() -> None:
    world = World(node("w1"), node("w2"))
    placed = {world.place(pod(f"p{i}", host_port=8080)) for i in range(3)}
    assert placed == {"w1", "w2", ""}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [4, 7, 30])
def test_equal_pods_spread_evenly_whatever_chance_says(seed: int, count: int) -> None:
    world = World(node("w1"), node("w2"), node("w3"), seed=seed)
    placed = Counter(world.place(pod(f"p{i}", owner="rs")) for i in range(count))
    assert max(placed.values()) - min(placed.values()) <= 1


def test_between_equal_nodes_chance_decides_and_the_seed_repeats_it() -> None:
    def first(seed: int) -> str:
        return World(node("w1"), node("w2"), node("w3"), seed=seed).place(pod("a"))

    assert {first(seed) for seed in range(30)} == {"w1", "w2", "w3"}
    assert first(7) == first(7)


def test_zones_are_balanced_before_hosts_are_filled() -> None:
    zone = "topology.kubernetes.io/zone"
    world = World(node("a1", **{zone: "a"}), node("a2", **{zone: "a"}), node("b1", **{zone: "b"}))
    placed = [world.place(pod(f"p{i}", owner="rs")) for i in range(2)]
    assert {name[0] for name in placed} == {"a", "b"}


def test_hard_spreading_refuses_what_would_skew() -> None:
    constraint = TopologySpreadConstraint(
        max_skew=1,
        topology_key="kubernetes.io/hostname",
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": "web"}),
    )
    world = World(node("w1", cpu="100m"), node("w2"))
    labels = {"app": "web"}
    first = [
        world.place(
            pod(f"p{i}", cpu="60m", labels=labels, topology_spread_constraints=(constraint,))
        )
        for i in range(2)
    ]
    assert set(first) == {"w1", "w2"}
    assert world.place(
        pod("p3", cpu="60m", labels=labels, topology_spread_constraints=(constraint,))
    ) == "w2"  # fmt: skip
    # w1 is full, and a third on w2 would make the skew two.
    text = world.why(pod("p4", cpu="60m", labels=labels, topology_spread_constraints=(constraint,)))
    assert "1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints." in text


def test_anti_affinity_repels_in_both_directions() -> None:
    term = PodAffinityTerm(
        topology_key="kubernetes.io/hostname",
        label_selector=LabelSelector(match_labels={"app": "db"}),
    )
    loner = Affinity(
        pod_anti_affinity=PodAntiAffinity(
            required_during_scheduling_ignored_during_execution=(term,)
        )
    )
    world = World(node("w1"), node("w2"))
    labels = {"app": "db"}
    assert {world.place(pod(f"d{i}", labels=labels, affinity=loner)) for i in range(3)} == {
        "w1", "w2", "",
    }  # fmt: skip
    assert "existing pods anti-affinity rules" in world.why(pod("plain", labels=labels))


def test_init_containers_count_by_their_peak_and_sidecars_always() -> None:
    def container(name: str, cpu: str, restart: str = "") -> Container:
        return Container(
            name=name, restart_policy=restart,
            resources=ResourceRequirements(requests={"cpu": cpu}),
        )  # fmt: skip

    spec = PodSpec(
        containers=(container("a", "200m"), container("b", "300m")),
        init_containers=(container("init", "900m"), container("side", "100m", "Always")),
    )
    assert pod_requests(Pod(spec=spec)) == {"cpu": 900}
    calm = PodSpec(containers=spec.containers, init_containers=spec.init_containers[1:])
    assert pod_requests(Pod(spec=calm)) == {"cpu": 600}


def test_large_clusters_are_sampled_in_turn() -> None:
    assert (feasible_limit(99), feasible_limit(1000), feasible_limit(5000)) == (99, 420, 500)
    world = World(*(node(f"n{i:03}") for i in range(300)))
    limit = feasible_limit(300)
    first = world.framework.schedule(pod_info(pod("a")), world.cache.nodes())
    second = world.framework.schedule(pod_info(pod("b")), world.cache.nodes())
    assert len(first.scores) == len(second.scores) == limit
    assert set(first.scores) != set(second.scores)


# -- against an oracle that looks at everything, written without the plugins


nodes_strategy = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.booleans()),
    min_size=1,
    max_size=5,
)
pods_strategy = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=14)


@settings(max_examples=150)
@given(nodes=nodes_strategy, pods=pods_strategy, seed=st.integers(0, 9))
def test_a_pod_is_placed_exactly_if_some_node_has_room(
    nodes: list[tuple[int, int, int, bool]], pods: list[tuple[int, int]], seed: int
) -> None:
    world = World(
        *(
            node(f"n{i}", str(cpu), f"{memory}Gi", limit, (CONTROL_PLANE,) if tainted else ())
            for i, (cpu, memory, limit, tainted) in enumerate(nodes)
        ),
        seed=seed,
    )
    free = {f"n{i}": [c, m, limit] for i, (c, m, limit, t) in enumerate(nodes) if not t}
    for i, (cpu, memory) in enumerate(pods):
        fitting = {n for n, (c, m, s) in free.items() if c >= cpu and m >= memory and s >= 1}
        chosen = world.place(pod(f"p{i}", cpu=str(cpu), memory=f"{memory}Gi", owner="rs"))
        assert (chosen in fitting) if fitting else chosen == ""
        if chosen:
            left = free[chosen]
            free[chosen] = [left[0] - cpu, left[1] - memory, left[2] - 1]


@settings(max_examples=50)
@given(steps=st.lists(st.tuples(st.sampled_from("asrf"), st.integers(0, 5)), max_size=40))
def test_the_cache_counts_what_is_there(steps: list[tuple[str, int]]) -> None:
    """Any order of assume, confirm, forget and remove leaves the sums of what remains."""
    cache = Cache()
    cache.set_node(node("w1"))
    there: dict[int, str] = {}
    for step, number in steps:
        one = pod(f"p{number}", cpu="100m", owner="rs", host_port=1000 + number)
        if step == "a" and number not in there:
            cache.assume(pod_info(one), "w1")
            there[number] = "assumed"
        elif step == "s":
            bound = pod(
                f"p{number}", cpu="100m", owner="rs", host_port=1000 + number, node_name="w1"
            )
            cache.set_pod(bound)
            there[number] = "set"
        elif step == "r":
            cache.remove_pod(one.metadata.uid)
            there.pop(number, None)
        elif step == "f":
            cache.forget(one.metadata.uid)
            if there.get(number) == "assumed":
                del there[number]
    info: NodeInfo = cache.nodes()[0]
    assert len(info.pods) == len(there)
    assert info.requested["cpu"] == 100 * len(there)
    assert info.controllers["rs"] == len(there)
    assert sum(info.ports.values()) == len(there)
