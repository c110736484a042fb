"""Acting as another user: allowed to those who may, answered as that user, refused to the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.component.apiserver_harness import Cluster, cluster, pod
from tests.component.kvstore_harness import wait_until
from tests.component.pki_fixture import Pki
from tests.security.apicalls import Answer, Rest

WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("kvstore", tmp_path_factory.mktemp("impersonation"), pki) as made:
        made.apply(pod("p", nodeName="w1"), pod("q", nodeName="w2"))
        yield made


@pytest.fixture(scope="module")
def admin(lab: Cluster, pki: Pki) -> Rest:
    return Rest(lab.server, pki.issue("boss", organizations=("kubeadm:cluster-admins",)))


def whoami(rest: Rest, *headers: tuple[str, str]) -> Any:
    answer = rest.call("POST", WHO, {}, headers)
    assert answer.code == 201, answer
    return answer.body["status"]["userInfo"]


def acting(rest: Rest, path: str, *headers: tuple[str, str]) -> Answer:
    return rest.call("GET", path, headers=headers)


def test_kubectl_as_nobody_is_refused_and_not_answered_as_admin(lab: Cluster) -> None:
    told = lab.kubectl("--as=nobody", "get", "pods", check=False)
    assert told.returncode == 1
    assert told.stderr == (
        'Error from server (Forbidden): pods is forbidden: User "nobody" cannot list resource '
        '"pods" in API group "" in the namespace "default"\n'
    )
    can = lab.kubectl("auth", "can-i", "delete", "nodes", "--as=nobody", check=False)
    assert (can.returncode, can.stdout) == (1, "no\n")
    assert lab.kubectl("auth", "can-i", "delete", "nodes").stdout == "yes\n"
    for command in (["delete", "pod", "p"], ["logs", "p"], ["exec", "p", "--", "true"]):
        told = lab.kubectl("--as=nobody", *command, check=False)
        assert "forbidden" in told.stderr, command
    assert lab.get("pod", "p")


def test_groups_uid_and_extra_are_those_asked_for(admin: Rest) -> None:
    assert whoami(admin, ("Impersonate-User", "jane")) == {
        "username": "jane", "groups": ["system:authenticated"],
    }  # fmt: skip
    assert whoami(
        admin,
        ("Impersonate-User", "jane"), ("Impersonate-Group", "dev"), ("Impersonate-Group", "ops"),
        ("Impersonate-Uid", "u-1"),
        ("Impersonate-Extra-Acme.com%2Fproject", "one"),
        ("Impersonate-Extra-acme.com%2fproject", "two"),
    ) == {
        "username": "jane", "uid": "u-1", "groups": ["dev", "ops", "system:authenticated"],
        "extra": {"acme.com/project": ["one", "two"]},
    }  # fmt: skip
    assert whoami(admin, ("Impersonate-User", "system:serviceaccount:ns:robot")) == {
        "username": "system:serviceaccount:ns:robot",
        "groups": [
            "system:authenticated", "system:serviceaccounts", "system:serviceaccounts:ns",
        ],
    }  # fmt: skip


def test_a_node_that_is_acted_as_has_a_nodes_rights(admin: Rest) -> None:
    node = (("Impersonate-User", "system:node:w1"), ("Impersonate-Group", "system:nodes"))
    assert acting(admin, f"{PODS}/p", *node).code == 200
    assert acting(admin, f"{PODS}/q", *node).code == 403
    assert admin.call("DELETE", f"{PODS}/q", headers=node).code == 403
    # The name alone makes nobody a node.
    assert acting(admin, f"{PODS}/p", node[0]).code == 403


def test_anonymous_is_forbidden_and_not_unauthenticated(admin: Rest) -> None:
    answer = acting(admin, PODS, ("Impersonate-User", "system:anonymous"))
    assert answer.code == 403 and 'User "system:anonymous" cannot list' in answer.message


def test_whoever_may_not_impersonate_is_told_so(lab: Cluster, pki: Pki) -> None:
    scheduler = Rest(lab.server, pki.issue("system:kube-scheduler"))
    masters = ("Impersonate-Group", "system:masters")
    answer = acting(scheduler, PODS, ("Impersonate-User", "boss"), masters)
    assert answer.code == 403
    assert answer.message == (
        'users "boss" is forbidden: User "system:kube-scheduler" cannot impersonate resource '
        '"users" in API group "" at the cluster scope'
    )
    account = acting(scheduler, PODS, ("Impersonate-User", "system:serviceaccount:kube-system:a"))
    assert account.code == 403
    assert account.message == (
        'serviceaccounts "a" is forbidden: User "system:kube-scheduler" cannot impersonate '
        'resource "serviceaccounts" in API group "" in the namespace "kube-system"'
    )
    # Health and discovery are no way around it.
    for path in ("/healthz", "/version", "/apis", WHO):
        assert acting(scheduler, path, ("Impersonate-User", "boss"), masters).code == 403, path
    node = Rest(lab.server, pki.issue("system:node:w1", organizations=("system:nodes",)))
    other = ("Impersonate-User", "system:node:w2"), ("Impersonate-Group", "system:nodes")
    assert acting(node, f"{PODS}/q", *other).code == 403


@pytest.mark.parametrize(
    "header",
    [("Impersonate-Group", "system:masters"), ("Impersonate-Uid", "0"),
     ("Impersonate-Extra-scopes", "all"), ("Impersonate-Unheard-Of", "x")],
)  # fmt: skip
def test_headers_without_a_user_are_refused(admin: Rest, header: tuple[str, str]) -> None:
    answer = acting(admin, PODS, header)
    assert answer.code == 400 and "without impersonating a user" in answer.message


def test_the_log_names_both(lab: Cluster, admin: Rest) -> None:
    acting(admin, f"{PODS}/p", ("Impersonate-User", "logged"), ("Impersonate-Group", "g"))

    def said() -> list[Any]:
        lines = [json.loads(x) for x in lab.server.log().splitlines() if '"impersonation"' in x]
        return [x for x in lines if x.get("acting_as") == "logged"]

    wait_until(lambda: bool(said()), 60, "a line in the log")
    (line,) = said()
    assert line["user"] == "boss" and line["path"] == f"{PODS}/p" and line["method"] == "GET"
