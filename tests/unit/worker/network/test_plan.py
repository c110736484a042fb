"""Which routes, rules and CNI configuration a machine needs."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from kube.api.core import Node, NodeAddress, NodeSpec, NodeStatus
from kube.api.meta import ObjectMeta
from worker.network import plan
from worker.network.plan import Delete, Route, Set


def node(name: str, cidr: str, address: str = "") -> Node:
    addresses = (NodeAddress(type="InternalIP", address=address),) if address else ()
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidr=cidr),
        status=NodeStatus(addresses=addresses),
    )


CLUSTER = "10.244.0.0/16"


def routes_of(nodes: list[Node], own_name: str) -> set[Route]:
    return plan.desired_routes(nodes, plan.ranges(nodes, CLUSTER), own_name)


NODES = [node("m1", "10.244.0.0/24", "10.0.0.11"), node("w1", "10.244.1.0/24", "10.0.0.21")]


def test_routes_lead_to_the_others_and_the_own_range_is_closed() -> None:
    assert routes_of(NODES, "w1") == {
        Route("10.244.0.0/24", "10.0.0.11"),
        Route("10.244.1.0/24", ""),
    }


def test_nodes_that_are_not_ready_to_be_routed_to_are_left_out() -> None:
    odd = [node("a", "", "10.0.0.1"), node("b", "10.244.9.0/24"), node("c", "junk", "10.0.0.3"),
           node("d", "fd00::/64", "10.0.0.4"), node("e", "10.244.8.0/24", "host-name")]  # fmt: skip
    assert routes_of(odd, "w1") == set()


def aged(name: str, cidr: str, created: str) -> Node:
    meta = ObjectMeta(name=name, creation_timestamp=created)
    return Node(metadata=meta, spec=NodeSpec(pod_cidr=cidr))


def test_ranges_outside_of_the_clusters_are_refused() -> None:
    nodes = [node("a", "192.168.0.0/16"), node("b", "10.244.3.0/24"), node("c", "0.0.0.0/0"),
             node("d", "10.0.0.0/8"), node("e", "garbage"), node("f", "fd00::/64")]  # fmt: skip
    found = plan.ranges(nodes, CLUSTER)
    assert found.given == {"a": (), "b": ("10.244.3.0/24",), "c": (), "d": (), "e": (), "f": ()}
    outside = f"is not in the cluster's range {CLUSTER}"
    assert found.refused == (
        plan.Refused("a", "192.168.0.0/16", outside), plan.Refused("c", "0.0.0.0/0", outside),
        plan.Refused("d", "10.0.0.0/8", outside),
        plan.Refused("e", "garbage", "is no range of addresses"),
    )  # fmt: skip


def test_of_two_nodes_with_one_range_the_older_keeps_it() -> None:
    old, new = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    nodes = [aged("a-thief", "10.244.1.0/24", new), aged("victim", "10.244.1.0/24", old),
             aged("wide", "10.244.0.0/16", new),
             aged("inside", "10.244.1.128/25", new)]  # fmt: skip
    for order in (nodes, nodes[::-1]):
        found = plan.ranges(order, CLUSTER)
        assert {name: given for name, given in found.given.items() if given} == {
            "victim": ("10.244.1.0/24",)
        }
        why = "overlaps 10.244.1.0/24 of node victim"
        assert {refused.node: refused.why for refused in found.refused} == dict.fromkeys(
            ("a-thief", "wide", "inside"), why
        )


@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(16, 30)), max_size=12))
def test_ranges_that_are_given_never_overlap(claims: list[tuple[int, int]]) -> None:
    networks = [
        ipaddress.ip_network((0x0AF40000 + host, bits), strict=False) for host, bits in claims
    ]
    nodes = [node(f"n{i:02}", str(network)) for i, network in enumerate(networks)]
    found = plan.ranges(nodes, CLUSTER)
    given = [ipaddress.ip_network(cidr) for cidrs in found.given.values() for cidr in cidrs]
    assert not any(a.overlaps(b) for i, a in enumerate(given) for b in given[:i])
    assert len(given) + len(found.refused) == len(nodes)
    # Nothing is refused that would have fitted.
    for refused in found.refused:
        assert any(ipaddress.ip_network(refused.cidr).overlaps(other) for other in given)


def test_actions_remove_the_stale_and_set_the_missing_and_the_moved() -> None:
    current = {Route("10.244.0.0/24", "10.0.0.99"), Route("10.244.7.0/24", "10.0.0.7")}
    desired = routes_of(NODES, "w1")
    assert plan.actions(desired, current) == [
        Delete("10.244.7.0/24"),
        Set(Route("10.244.0.0/24", "10.0.0.11")),
        Set(Route("10.244.1.0/24", "")),
    ]


routes = st.sets(
    st.builds(Route, st.sampled_from([f"10.244.{i}.0/24" for i in range(6)]),
              st.sampled_from(["", "10.0.0.1", "10.0.0.2"])), max_size=8,
)  # fmt: skip


@given(routes, routes)
def test_applying_the_actions_reaches_the_desired_routes(
    desired: set[Route], current: set[Route]
) -> None:
    table = {r.cidr: r for r in current}
    for action in plan.actions(desired, current):
        if isinstance(action, Delete):
            del table[action.cidr]
        else:
            table[action.route.cidr] = action.route
    assert set(table) == {r.cidr for r in desired}
    assert plan.actions(desired, table.values()) == []


def test_routes_are_read_from_ip() -> None:
    text = """[{"dst":"10.244.0.0/24","gateway":"10.0.0.11","dev":"eth0","flags":[]},
               {"type":"unreachable","dst":"10.244.1.0/24","flags":[]}]"""
    assert plan.current_routes(text) == routes_of(NODES, "w1")
    assert plan.current_routes("") == set()


def test_the_configuration_names_this_machines_range() -> None:
    conf = plan.conflist("10.244.1.0/24", with_portmap=True)
    assert [p["type"] for p in conf["plugins"]] == ["ptp", "portmap"]
    assert conf["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert len(plan.conflist("10.244.1.0/24", with_portmap=False)["plugins"]) == 1


def test_traffic_between_pods_keeps_its_address() -> None:
    lines = plan.chains("10.244.0.0/16").splitlines()
    stay = lines.index("-A MUSTER-POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN")
    leave = next(i for i, line in enumerate(lines) if "MASQUERADE" in line)
    assert stay < leave
