"""Roles and bindings against a real api-server, with stock kubectl as several users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.component.apiserver_harness import Cluster, cluster
from tests.component.kvstore_harness import wait_until
from tests.component.pki_fixture import Pki

JANE = ("jane", "team:web")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("kvstore", tmp_path_factory.mktemp("rbac"), pki) as running:
        running.kubectl("create", "namespace", "web")
        yield running


def may(lab: Cluster, *asked: str, user: tuple[str, ...] = JANE) -> bool:
    return lab.kubectl("auth", "can-i", *asked, user=user, check=False).stdout.startswith("yes")


def test_the_cluster_begins_with_upstreams_roles(lab: Cluster) -> None:
    names = lab.kubectl("get", "clusterroles", "-o", "name").stdout.split()
    wanted = ("admin", "edit", "view", "cluster-admin", "system:discovery")
    assert {f"clusterrole.rbac.authorization.k8s.io/{name}" for name in wanted} <= set(names)
    row = lab.kubectl("get", "clusterrolebinding", "cluster-admin", "-o", "wide").stdout
    assert "ClusterRole/cluster-admin" in row and "system:masters" in row


def test_a_binding_lets_in_and_its_end_shuts_out(lab: Cluster) -> None:
    refused = lab.kubectl("get", "pods", "-n", "web", user=JANE, check=False)
    assert (
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the '
        'namespace "web"' in refused.stderr
    )
    lab.kubectl("create", "rolebinding", "viewers", "-n", "web", "--clusterrole=view",
                "--group=team:web")  # fmt: skip
    wait_until(lambda: may(lab, "list", "pods", "-n", "web"), 30, lambda: "jane sees pods")
    lab.kubectl("get", "pods", "-n", "web", user=JANE)
    assert not may(lab, "list", "pods", "-n", "default")
    assert not may(lab, "list", "pods", "-A")
    assert not may(lab, "get", "secrets", "-n", "web")
    listed = lab.kubectl("auth", "can-i", "--list", "-n", "web", user=JANE).stdout
    assert "pods/log" in listed and "secrets" not in listed
    lab.kubectl("delete", "rolebinding", "viewers", "-n", "web")
    wait_until(lambda: not may(lab, "list", "pods", "-n", "web"), 30, lambda: "jane sees nothing")


def test_nobody_grants_more_than_they_have(lab: Cluster) -> None:
    lab.kubectl("create", "rolebinding", "admins", "-n", "web", "--clusterrole=admin",
                "--user=ann")  # fmt: skip
    ann = ("ann",)
    wait_until(lambda: may(lab, "create", "roles", "-n", "web", user=ann), 30, lambda: "ann")
    lab.kubectl("create", "role", "reader", "-n", "web", "--verb=get", "--resource=pods", user=ann)
    wide = lab.kubectl("create", "role", "all", "-n", "web", "--verb=*", "--resource=nodes",
                       user=ann, check=False)  # fmt: skip
    assert "is attempting to grant RBAC permissions not currently held" in wide.stderr
    bound = lab.kubectl("create", "rolebinding", "mine", "-n", "web", "--user=ann",
                        "--clusterrole=cluster-admin", user=ann, check=False)  # fmt: skip
    assert "is attempting to grant RBAC permissions not currently held" in bound.stderr
    lab.kubectl("create", "rolebinding", "less", "-n", "web", "--user=joe",
                "--clusterrole=view", user=ann)  # fmt: skip


def test_a_restart_puts_back_what_is_missing_and_keeps_what_was_added(lab: Cluster) -> None:
    lab.kubectl("delete", "clusterrole", "system:discovery")
    lab.kubectl("patch", "clusterrole", "system:basic-user", "--type=json", "-p",
                '[{"op": "add", "path": "/rules/-", "value": '
                '{"verbs": ["get"], "apiGroups": [""], "resources": ["things"]}}]')  # fmt: skip
    lab.server.stop()
    lab.server.start()
    wait_until(lambda: lab.ready(lab.server), 60, lambda: lab.server.log())
    assert lab.get("clusterrole", "system:discovery")["rules"]
    rules = lab.get("clusterrole", "system:basic-user")["rules"]
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["things"]} in rules


def test_upstreams_reconcile_finds_nothing_to_do(lab: Cluster) -> None:
    """`kubectl auth reconcile` of what is there changes nothing."""
    text = lab.kubectl("get", "clusterrole", "system:public-info-viewer", "-o", "yaml").stdout
    done = lab.kubectl("auth", "reconcile", "-f", "-", stdin=text).stdout
    assert "reconciled" in done and "missing rules added" not in done
