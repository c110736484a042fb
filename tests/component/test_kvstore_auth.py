"""Users, roles and permissions with stock etcdctl against three real members over mTLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.component.kvstore_harness import StoreCluster, store_cluster, wait_until
from tests.component.pki_fixture import Pki

ROOT = "--user=root:secret"
ALICE = "--user=alice:wonder"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[StoreCluster]:
    """Auth is on: root, and alice who may read and write below a/ and read b."""
    directory = tmp_path_factory.mktemp("auth")
    with store_cluster(directory, pki, 3, "--snapshot-count", "30") as running:
        assert "etcdserver: root user does not exist" in running.refused("auth", "enable")
        running.etcdctl("user", "add", "root:secret")
        running.etcdctl("user", "grant-role", "root", "root")
        running.etcdctl("user", "add", "alice:wonder")
        running.etcdctl("role", "add", "a-writer")
        running.etcdctl("role", "grant-permission", "a-writer", "readwrite", "--prefix=true", "a/")
        running.etcdctl("role", "grant-permission", "a-writer", "read", "b")
        running.etcdctl("user", "grant-role", "alice", "a-writer")
        running.etcdctl("put", "b", "1")
        running.etcdctl("put", "c", "1")
        running.etcdctl("auth", "enable")
        for member in running.members:  # a linearizable read: from then on it knows all this
            running.etcdctl(ROOT, "get", "c", member=member)
        yield running


def refused(cluster: StoreCluster, *arguments: str) -> str:
    return cluster.refused(*arguments)


def test_a_role_opens_its_ranges_and_nothing_else(cluster: StoreCluster) -> None:
    for member in cluster.members:
        cluster.etcdctl(ALICE, "put", "a/x", member.name, member=member)
        assert cluster.etcdctl(ALICE, "get", "--prefix", "a/", member=member).stdout
    assert cluster.etcdctl(ALICE, "get", "b").stdout == "b\n1\n"
    denied = "etcdserver: permission denied"
    assert denied in refused(cluster, ALICE, "get", "c")
    assert denied in refused(cluster, ALICE, "put", "b", "2")
    assert denied in refused(cluster, ALICE, "del", "--prefix", "")
    assert denied in refused(cluster, ALICE, "get", "a/", "c")
    assert denied in refused(cluster, ALICE, "user", "list")
    assert denied in refused(cluster, ALICE, "defrag")
    assert denied in refused(cluster, ALICE, "member", "remove", "1")
    assert cluster.etcdctl(ROOT, "get", "c").stdout == "c\n1\n"


def test_a_transaction_is_refused_for_any_branch(cluster: StoreCluster) -> None:
    text = 'value("a/x") = "no such value"\n\nput c 2\n\nput a/x fine\n\n'
    said = cluster.refused(ALICE, "txn", "-i", stdin=text)
    assert "etcdserver: permission denied" in said
    assert cluster.etcdctl(ROOT, "get", "c").stdout == "c\n1\n"


def test_who_cannot_say_who_it_is(cluster: StoreCluster) -> None:
    wrong = refused(cluster, "--user=alice:guess", "get", "b")
    assert "etcdserver: authentication failed, invalid user ID or password" in wrong
    # Without a password the certificate's common name speaks: "kvstore-client" is no user yet.
    assert "etcdserver: permission denied" in refused(cluster, "get", "b")
    cluster.etcdctl(ROOT, "user", "add", "kvstore-client", "--no-password")
    cluster.etcdctl(ROOT, "user", "grant-role", "kvstore-client", "a-writer")
    assert cluster.etcdctl("get", "b").stdout == "b\n1\n"
    cluster.etcdctl(ROOT, "user", "delete", "kvstore-client")
    assert "etcdserver: permission denied" in refused(cluster, "get", "b")


def test_watches_are_checked_too(cluster: StoreCluster) -> None:
    assert "permission denied" in refused(cluster, ALICE, "watch", "c")


def test_management_errors_are_etcds(cluster: StoreCluster) -> None:
    assert "user name not found" in refused(cluster, ROOT, "user", "get", "nobody")
    assert "role name not found" in refused(cluster, ROOT, "role", "get", "nothing")
    assert "user name already exists" in refused(cluster, ROOT, "user", "add", "alice:x")
    assert "role name already exists" in refused(cluster, ROOT, "role", "add", "a-writer")
    assert "invalid auth management" in refused(cluster, ROOT, "user", "delete", "root")
    assert "role is not granted" in refused(cluster, ROOT, "user", "revoke-role", "alice", "root")


def test_rules_survive_a_restart_from_a_snapshot(cluster: StoreCluster) -> None:
    for number in range(40):
        cluster.etcdctl(ROOT, "put", f"a/{number}", "x", member=cluster.members[0])
    for member in cluster.members:
        member.kill()
    for member in cluster.members:
        member.start()
    cluster.wait_healthy()
    assert cluster.etcdctl(ALICE, "get", "b").stdout == "b\n1\n"
    assert "etcdserver: permission denied" in refused(cluster, ALICE, "get", "c")


def test_a_lease_ends_though_nobody_with_permission_ends_it(cluster: StoreCluster) -> None:
    def leased(ttl: int, key: str) -> str:
        lease = cluster.etcdctl(ROOT, "lease", "grant", str(ttl)).stdout.split()[1]
        cluster.etcdctl(ROOT, "put", key, "x", f"--lease={lease}")
        return f"--lease={lease}"

    assert "permission denied" in refused(cluster, ALICE, "put", "a/y", "1", leased(600, "c/long"))
    leased(5, "c/leased")
    wait_until(lambda: not cluster.etcdctl(ROOT, "get", "c/leased").stdout, 60, "its end")


def test_disabling_opens_everything(cluster: StoreCluster) -> None:
    cluster.etcdctl(ROOT, "auth", "disable")
    assert cluster.etcdctl("get", "c").stdout == "c\n1\n"
