"""Endpoints and EndpointSlices: who stands behind a Service, and how little is rewritten."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.api.core import (
    Container,
    ContainerPort,
    Pod,
    PodCondition,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from kube.api.discovery import EndpointSlice
from kube.api.meta import ObjectMeta
from master.controllers.services import endpoints
from master.controllers.services import endpointslice_plan as planning

ZONES = {"w1": "z1"}


def service(target: int | str | None = "http", **spec: object) -> Service:
    port = ServicePort(name="web", port=80, target_port=target, protocol="TCP")
    return Service(
        metadata=ObjectMeta(name="web", namespace="ns", uid="svc", labels={"team": "blue"}),
        spec=ServiceSpec(ports=(port,), selector={"app": "web"}, **spec),
    )


def pod(
    number: int,
    ready: bool = True,
    deleting: bool = False,
    phase: str = "Running",
    port: int = 8080,
    ip: bool = True,
) -> Pod:
    container = Container(name="c", ports=(ContainerPort(name="http", container_port=port),))
    return Pod(
        metadata=ObjectMeta(
            name=f"p{number}", namespace="ns", uid=f"uid-{number}",
            deletion_timestamp="2026" if deleting else "",
        ),
        spec=PodSpec(node_name="w1", containers=(container,)),
        status=PodStatus(
            phase=phase, pod_ip=f"10.244.{number // 250}.{number % 250 + 1}" if ip else "",
            conditions=(PodCondition(type="Ready", status=str(ready)),),
        ),
    )  # fmt: skip


class Store:
    """EndpointSlices as the api-server would keep them."""

    def __init__(self) -> None:
        self.slices: dict[str, EndpointSlice] = {}
        self.writes = 0

    def sync(self, svc: Service, pods: list[Pod]) -> planning.Plan:
        plan = planning.plan(svc, pods, ZONES, list(self.slices.values()), "T")
        for item in plan.create:
            name = f"{item.metadata.generate_name}{len(self.slices)}{self.writes}"
            meta = msgspec.structs.replace(item.metadata, name=name)
            self.slices[name] = msgspec.structs.replace(item, metadata=meta)
            self.writes += 1
        for item in plan.update:
            self.slices[item.metadata.name] = item
            self.writes += 1
        for item in plan.delete:
            del self.slices[item.metadata.name]
            self.writes += 1
        return plan

    def addresses(self) -> list[str]:
        return sorted(e.addresses[0] for one in self.slices.values() for e in one.endpoints)


def test_an_endpoint_says_where_and_how_well_it_serves() -> None:
    store = Store()
    store.sync(service(), [pod(1), pod(2, ready=False), pod(3, deleting=True)])
    (item,) = store.slices.values()
    assert item.metadata.labels == {
        "team": "blue", planning.SERVICE_NAME: "web", planning.MANAGED_BY: planning.CONTROLLER,
    }  # fmt: skip
    assert (item.ports[0].name, item.ports[0].port, item.address_type) == ("web", 8080, "IPv4")
    states = {
        e.target_ref.name: (e.conditions.ready, e.conditions.serving, e.conditions.terminating)
        for e in item.endpoints
        if e.target_ref and e.conditions
    }
    assert states == {
        "p1": (True, True, False), "p2": (False, False, False), "p3": (False, True, True),
    }  # fmt: skip
    assert {(e.node_name, e.zone) for e in item.endpoints} == {("w1", "z1")}


@pytest.mark.parametrize(
    ("distribution", "zones", "nodes"),
    [
        ("", None, None),
        ("Nonsense", None, None),
        ("PreferClose", {"z1"}, set()),
        ("PreferSameZone", {"z1"}, set()),
        ("PreferSameNode", {"z1"}, {"w1"}),
    ],
)
def test_hints_follow_the_traffic_distribution(
    distribution: str, zones: set[str] | None, nodes: set[str] | None
) -> None:
    """Of ready endpoints only; and they go when the field goes."""
    store = Store()
    store.sync(service(traffic_distribution="PreferClose"), [pod(1), pod(2, ready=False)])
    store.sync(service(traffic_distribution=distribution), [pod(1), pod(2, ready=False)])
    (item,) = store.slices.values()
    ready, waiting = item.endpoints
    assert waiting.hints is None
    if zones is None:
        assert ready.hints is None
    else:
        assert ready.hints is not None
        assert {zone.name for zone in ready.hints.for_zones} == zones
        assert {node.name for node in ready.hints.for_nodes} == nodes


def test_publish_not_ready_addresses_makes_everybody_ready() -> None:
    store = Store()
    store.sync(service(publish_not_ready_addresses=True), [pod(1, ready=False)])
    (item,) = store.slices.values()
    conditions = item.endpoints[0].conditions
    assert conditions is not None
    assert (conditions.ready, conditions.serving) == (True, False)


@pytest.mark.parametrize("absent", [pod(1, ip=False), pod(1, phase="Succeeded")])
def test_a_pod_without_address_or_future_is_left_out(absent: Pod) -> None:
    store = Store()
    store.sync(service(), [absent])
    (item,) = store.slices.values()
    assert item.endpoints == ()


@pytest.mark.parametrize(("target", "port"), [("http", 8080), (9000, 9000), (None, 80)])
def test_target_ports_resolve(target: int | str | None, port: int) -> None:
    assert planning.pod_ports(service(target), pod(1))[0].port == port


def test_pods_with_different_numbers_for_a_name_get_their_own_slices() -> None:
    store = Store()
    store.sync(service(), [pod(1, port=8080), pod(2, port=9090)])
    assert sorted(one.ports[0].port or 0 for one in store.slices.values()) == [8080, 9090]


def test_headless_services_are_labelled() -> None:
    labels = planning.slice_labels(service(cluster_ip="None"))
    assert labels[planning.HEADLESS] == ""


def test_one_changed_pod_rewrites_one_slice() -> None:
    store = Store()
    pods = [pod(i) for i in range(250)]
    store.sync(service(), pods)
    assert sorted(len(one.endpoints) for one in store.slices.values()) == [50, 100, 100]
    changed = [pod(0, ready=False), *pods[1:]]
    plan = store.sync(service(), changed)
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)


@settings(max_examples=60)
@given(st.lists(st.sets(st.integers(0, 230), max_size=231), min_size=1, max_size=5))
def test_after_any_history_every_pod_is_there_exactly_once(history: list[set[int]]) -> None:
    store = Store()
    for present in history:
        pods = [pod(number) for number in sorted(present)]
        store.sync(service(), pods)
        assert store.addresses() == sorted(one.status.pod_ip for one in pods)
        assert all(len(one.endpoints) <= planning.MAX_ENDPOINTS for one in store.slices.values())
        assert store.slices, "a service always has a slice"
        assert store.sync(service(), pods) == planning.Plan()


def test_the_old_form_keeps_ready_and_waiting_apart() -> None:
    pods = [pod(2), pod(1), pod(3, ready=False), pod(4, deleting=True)]
    found = endpoints.plan(service(), pods)
    (subset,) = found.subsets
    assert [a.ip for a in subset.addresses] == ["10.244.0.2", "10.244.0.3"]
    assert [a.ip for a in subset.not_ready_addresses] == ["10.244.0.4"]
    assert subset.ports[0].port == 8080
    assert endpoints.plan(service(), []).subsets == ()


@pytest.mark.parametrize("lie", ["127.0.0.1", "169.254.169.254", "2001:db8::1", "x", "0.0.0.0"])
def test_a_node_that_lies_about_an_address_takes_nobody_else_out(lie: str) -> None:
    """The api-server refuses such an endpoint: with it in the slice, all would be refused."""
    liar = msgspec.structs.replace(pod(1), status=PodStatus(phase="Running", pod_ip=lie))
    made = planning.plan(service(), [liar, pod(2)], ZONES, [], "")
    assert [e.addresses for s in made.create for e in s.endpoints] == [("10.244.0.3",)]
    subsets = endpoints.plan(service(), [liar, pod(2)]).subsets
    assert [address.ip for subset in subsets for address in subset.addresses] == ["10.244.0.3"]
