"""Node objects are validated whoever writes them, and no amount in one can stop a component."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kube.stubs.resources import resources_pb2 as pb
from tests.component.apiserver_harness import Cluster, cluster
from tests.component.pki_fixture import Pki
from tests.security.apicalls import Grpc, Rest, ref

NODES = "/api/v1/nodes"
CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
QUANTITY = "quantities must match the regular expression"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("kvstore", tmp_path_factory.mktemp("nodes"), pki) as made:
        yield made


@pytest.fixture(scope="module")
def admin(lab: Cluster, pki: Pki) -> Rest:
    return Rest(lab.server, pki.issue("boss", organizations=("kubeadm:cluster-admins",)))


def node(name: str = "bad", *, spec: Any = None, status: Any = None) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "spec": spec or {}, "status": status or {}}  # fmt: skip


def taint(**changes: str) -> dict[str, Any]:
    return {"taints": [{"key": "k", "effect": "NoSchedule", **changes}]}


BAD = [
    (node(spec={"podCIDR": "garbage"}), f'spec.podCIDRs[0]: Invalid value: "garbage": {CIDR}'),
    (node(spec={"podCIDR": "10.0.0.0"}), CIDR),
    (node(spec={"podCIDR": "10.0.0.0/33"}), CIDR),
    (node(spec={"podCIDR": "10.0.0.0/255.0.0.0"}), CIDR),
    (node(spec={"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}),
     "may specify no more than one CIDR for each IP family"),
    (node(status={"capacity": {"cpu": "zz"}}),
     f'status.capacity.cpu: Invalid value: "zz": {QUANTITY}'),
    (node(status={"allocatable": {"memory": "5XB"}}), QUANTITY),
    (node(status={"capacity": {"cpu": "-1"}}), "must be greater than or equal to 0"),
    (node(status={"capacity": {"pods": "1.5"}}), "must be an integer"),
    (node(status={"capacity": {"made up": "1"}}), "status.capacity.made up: Invalid value"),
    (node(status={"capacity": {"bananas": "1"}}),
     "must be a standard resource type or fully qualified"),
    (node(status={"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}] * 2}),
     "status.addresses[1]: Duplicate value"),
    (node(spec=taint(key="")), "spec.taints[0].key: Invalid value"),
    (node(spec=taint(key="a b")), "spec.taints[0].key: Invalid value"),
    (node(spec=taint(value="a b")), "spec.taints[0].value: Invalid value"),
    (node(spec=taint(effect="")), "spec.taints[0].effect: Required value"),
    (node(spec=taint(effect="Never")), "spec.taints[0].effect: Unsupported value"),
    (node(spec={"taints": taint()["taints"] * 2}), "spec.taints[1]: Duplicate value"),
    (node("Capital"), "metadata.name: Invalid value"),
    (node("a/b"), "metadata.name: Invalid value"),
    (node("n" * 254), "metadata.name: Invalid value"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "text"), BAD)
def test_a_node_that_makes_no_sense_is_refused(
    lab: Cluster, admin: Rest, body: dict[str, Any], text: str
) -> None:
    answer = admin.call("POST", NODES, body)
    assert (answer.code, text in answer.message) == (422, True), answer
    grpc = Grpc(lab.server, admin.tls)
    try:
        request = pb.CreateRequest(ref=ref("nodes"), json=json.dumps(body).encode())
        answer = grpc.call("Create", request)
    finally:
        grpc.close()
    assert (answer.code, text in answer.message) == (422, True), answer


@pytest.mark.parametrize(
    ("part", "text"),
    [({"capacity": {"cpu": "zz"}}, QUANTITY), ({"allocatable": {"pods": "-1"}}, "greater"),
     ({"addresses": [{"type": "Hostname", "address": "h"}] * 2}, "Duplicate")],
)  # fmt: skip
def test_a_status_that_makes_no_sense_is_refused(admin: Rest, part: Any, text: str) -> None:
    admin.call("POST", NODES, node("reporter"))
    for path in (f"{NODES}/reporter/status",):
        answer = admin.patch(path, "merge", {"status": part})
        assert (answer.code, text in answer.message) == (422, True), answer
    assert not admin.get(f"{NODES}/reporter").body.get("status", {}).get("capacity")


def test_what_a_node_is_does_not_change(admin: Rest) -> None:
    spec = {"podCIDR": "10.244.1.0/24", "providerID": "lab://w1"}
    assert admin.call("POST", NODES, node("fixed", spec=spec)).code == 201
    stored = admin.get(f"{NODES}/fixed").body["spec"]
    assert stored["podCIDRs"] == ["10.244.1.0/24"]  # the two fields say the same
    for change, text in (
        ({"podCIDR": "10.244.2.0/24"}, "spec.podCIDRs: Forbidden: node updates may not change"),
        ({"podCIDR": None, "podCIDRs": None}, "spec.podCIDRs: Forbidden"),
        ({"podCIDRs": ["10.244.1.0/24", "fd00::/64"]}, "spec.podCIDRs: Forbidden"),
        ({"providerID": "lab://w2"}, "spec.providerID: Forbidden"),
        ({"externalID": "x"}, "node updates may only change labels, taints, or capacity"),
    ):
        answer = admin.patch(f"{NODES}/fixed", "merge", {"spec": change})
        assert (answer.code, text in answer.message) == (422, True), (change, answer)
    assert admin.get(f"{NODES}/fixed").body["spec"] == stored
    assert admin.patch(f"{NODES}/fixed", "merge", {"spec": taint()}).code == 200


def test_a_range_may_be_given_once(admin: Rest) -> None:
    assert admin.call("POST", NODES, node("late")).code == 201
    given = {"spec": {"podCIDRs": ["10.244.9.0/24"]}}
    assert admin.patch(f"{NODES}/late", "merge", given).code == 200
    assert admin.get(f"{NODES}/late").body["spec"]["podCIDR"] == "10.244.9.0/24"


def test_an_enormous_amount_is_one_that_can_be_counted(lab: Cluster, admin: Rest) -> None:
    """A few bytes are no integer of a billion digits: the table's cells and the scheduler count
    with it."""
    status = {"capacity": {"cpu": "1e999999999", "memory": "1e999999999", "pods": "9" * 40}}
    assert admin.call("POST", NODES, node("huge", status=status)).code == 201
    assert lab.kubectl("get", "nodes", "huge", "-o", "wide", timeout=60).returncode == 0
    assert lab.kubectl("describe", "node", "huge", timeout=60).returncode == 0
