"""Which routes, rules and CNI configuration a machine needs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muster.api.core import Node, NodeAddress, NodeSpec, NodeStatus
from muster.api.meta import ObjectMeta
from worker.network import plan
from worker.network.plan import Delete, Route, Set


def node(name: str, cidr: str, address: str = "") -> Node:
    addresses = (NodeAddress(type="InternalIP", address=address),) if address else ()
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidr=cidr),
        status=NodeStatus(addresses=addresses),
    )


NODES = [node("m1", "10.244.0.0/24", "10.0.0.11"), node("w1", "10.244.1.0/24", "10.0.0.21")]


def test_routes_lead_to_the_others_and_the_own_range_is_closed() -> None:
    assert plan.desired_routes(NODES, "w1") == {
        Route("10.244.0.0/24", "10.0.0.11"),
        Route("10.244.1.0/24", ""),
    }


def test_nodes_that_are_not_ready_to_be_routed_to_are_left_out() -> None:
    odd = [node("a", "", "10.0.0.1"), node("b", "10.244.9.0/24"), node("c", "junk", "10.0.0.3"),
           node("d", "fd00::/64", "10.0.0.4"), node("e", "10.244.8.0/24", "host-name")]  # fmt: skip
    assert plan.desired_routes(odd, "w1") == set()


def test_actions_remove_the_stale_and_set_the_missing_and_the_moved() -> None:
    current = {Route("10.244.0.0/24", "10.0.0.99"), Route("10.244.7.0/24", "10.0.0.7")}
    desired = plan.desired_routes(NODES, "w1")
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
    assert plan.current_routes(text) == plan.desired_routes(NODES, "w1")
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
