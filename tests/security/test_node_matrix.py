"""A node's certificate may exactly what upstream's Node authorizer and NodeRestriction let it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kube.stubs.resources import resources_pb2 as pb
from tests.component.pki_fixture import Pki
from tests.security.apicalls import ref
from tests.security.node_cells import Cell, cells, mirror, node
from tests.security.node_world import TRANSPORTS, World, ask, world, wrong

CELLS = cells()
NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
SECRETS = "/api/v1/namespaces/default/secrets"
KUBELET = ("system:node:w1", ("system:nodes",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("matrix"), pki) as standing:
        yield standing


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell(made: World, cell: Cell, transport: str) -> None:
    if cell.rest_only and transport != "REST":
        pytest.skip("REST alone has this request")
    assert not wrong(made, cell, ask(made, cell, transport))


def test_the_matrix_is_as_large_as_it_must_be() -> None:
    assert len({str(cell) for cell in CELLS}) >= 97
    assert len(CELLS) == len({(str(cell), cell.user, cell.groups) for cell in CELLS})


# The attacks themselves, written for real.


def test_a_mirror_pod_opens_no_secret(made: World) -> None:
    """What was reproduced: make a pod that mounts any Secret, then read the Secret."""
    kubelet = made.rest(*KUBELET)
    assert kubelet.get(f"{SECRETS}/plain").code == 403
    volumes = [{"name": "v", "secret": {"secretName": "plain"}}]
    answer = kubelet.call("POST", PODS, mirror(made.uid, volumes=volumes))
    assert answer.code == 403, answer
    assert kubelet.get(f"{SECRETS}/plain").code == 403
    # An honest one is shown, may be removed, and still opens nothing.
    assert kubelet.call("POST", PODS, mirror(made.uid)).code == 201
    stored = made.admin.get(f"{PODS}/static").body
    assert not stored["spec"].get("serviceAccountName")
    assert kubelet.call("DELETE", f"{PODS}/static", {"gracePeriodSeconds": 0}).code == 200


def test_no_node_takes_anothers_pod_range(made: World) -> None:
    """What was reproduced: delete the own Node, and come back with a foreign podCIDR."""
    user = ("system:node:thief", ("system:nodes",))
    thief = made.rest(*user)
    assert thief.call("POST", NODES, node("thief")).code == 201
    assert thief.call("DELETE", f"{NODES}/thief").code == 403
    made.admin.call("DELETE", f"{NODES}/thief")  # an administrator may, and then
    stolen = node("thief", podCIDR="10.244.0.0/24", podCIDRs=["10.244.0.0/24"])
    assert thief.call("POST", NODES, stolen).code == 403
    assert thief.call("POST", NODES, node("thief")).code == 201
    for path in (f"{NODES}/thief", f"{NODES}/thief/status"):
        change = {"spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}}
        assert thief.patch(path, "merge", change).code == 403, path
    assert not made.admin.get(f"{NODES}/thief").body.get("spec", {}).get("podCIDR")


@pytest.mark.parametrize("kind", ["merge", "strategic", "apply"])
def test_no_node_joins_a_service_by_the_labels_of_a_pod(made: World, kind: str) -> None:
    kubelet, path = made.rest(*KUBELET), f"{PODS}/bound"
    body = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bound", "labels": {"app": "db"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }  # fmt: skip
    assert kubelet.patch(f"{path}/status", kind, body, force="true").code == 403
    assert kubelet.patch(path, kind, body, force="true").code == 403
    assert "labels" not in made.admin.get(path).body["metadata"]


def test_a_stale_status_is_a_conflict_and_not_forbidden(made: World) -> None:
    """A kubelet whose copy is behind must hear that it is to read again: the taints that others
    have set meanwhile look like a change of its own."""
    kubelet, path = made.rest(*KUBELET), f"{NODES}/w1"
    old = kubelet.get(path).body
    taint = {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}
    assert made.admin.patch(path, "merge", taint).code == 200
    try:
        assert kubelet.call("PUT", f"{path}/status", old).code == 409
        assert kubelet.call("PUT", f"{path}/status", kubelet.get(path).body).code == 200
    finally:
        made.admin.patch(path, "merge", {"spec": {"taints": None}})


def test_lists_hold_what_is_the_nodes_own(made: World) -> None:
    kubelet = made.rest(*KUBELET)
    listed = kubelet.get("/api/v1/pods", fieldSelector="spec.nodeName=w1").body["items"]
    assert {item["metadata"]["name"] for item in listed} >= {"bound", "away", "mirror"}
    assert {item["spec"]["nodeName"] for item in listed} == {"w1"}
    own = kubelet.get(NODES, fieldSelector="metadata.name=w1").body["items"]
    assert [item["metadata"]["name"] for item in own] == ["w1"]
    # A selector that names both own and other selects neither.
    both = kubelet.get(SECRETS, fieldSelector="metadata.name=plain,metadata.name=bound")
    assert both.code == 403 or both.body["items"] == []


def test_a_name_in_a_grpc_list_selects_that_object_alone(made: World) -> None:
    """The authorizer judges the name; what is listed must be what was judged."""
    kubelet = made.grpc(*KUBELET)
    for where in (
        ref("nodes", "w1"), ref("secrets", "bound", "default"),
        ref("configmaps", "bound", "default"), ref("pods", "bound", "default"),
    ):  # fmt: skip
        answer = kubelet.call("List", pb.ListRequest(ref=where))
        assert answer.code == 200, answer
        names = [json.loads(item)["metadata"]["name"] for item in answer.body.items]
        assert names == [where.name]


@pytest.mark.parametrize("sub", ["nothing", "status/", "binding", "log", "eviction"])
def test_a_subresource_that_is_none_is_not_served_over_grpc(made: World, sub: str) -> None:
    for who in (KUBELET, ("boss", ("kubeadm:cluster-admins",))):
        grpc = made.grpc(*who)
        lease = ref("leases", "w1", "kube-node-lease", sub, "coordination.k8s.io")
        for method, request in (
            ("Get", pb.GetRequest(ref=lease)),
            ("Update", pb.UpdateRequest(ref=lease, json=b"{}")),
            ("Delete", pb.DeleteRequest(ref=lease)),
            ("Get", pb.GetRequest(ref=ref("pods", "bound", "default", sub))),
            ("Delete", pb.DeleteRequest(ref=ref("pods", "bound", "default", sub))),
        ):
            answer = grpc.call(method, request)
            assert answer.code in (403, 404, 405), (method, answer)
    assert made.admin.get(f"{PODS}/bound").code == 200
