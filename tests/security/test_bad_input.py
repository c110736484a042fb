"""Whatever a client sends is refused by a clear answer: never by a 500, and never accepted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPSConnection
from typing import Any

import pytest

from kube.component.tls import TlsFiles, client_context
from kube.stubs.resources import resources_pb2 as pb
from tests.component.apiserver_harness import ApiServer, Cluster, cluster
from tests.component.pki_fixture import Pki
from tests.security import bad_inputs
from tests.security.apicalls import Grpc, Rest, ref
from tests.security.bad_inputs import HUGE, ROWS, Row, encoded

ADMIN = "kubernetes-admin"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("etcd", tmp_path_factory.mktemp("bad-input"), pki) as made:
        prepare(made)
        yield made
        assert "request failed" not in made.server.log()


def prepare(made: Cluster) -> None:
    """What the rows patch and delete."""
    base = bad_inputs.config_map(
        metadata={"name": "base", "annotations": {"a": "b"}}, data={"a": "b"}
    )
    web = bad_inputs.deployment(replicas=0)
    lock = bad_inputs.lease(holderIdentity="x", renewTime="2026-01-02T03:04:05.000000Z")
    made.apply(
        base,
        web | {"metadata": {"name": "web"}},
        lock | {"metadata": {"name": "lock"}},
        bad_inputs.pod("p"),
        bad_inputs.service() | {"metadata": {"name": "s"}},
    )


def send(server: ApiServer, pki: Pki, row: Row, tls: TlsFiles | None = None) -> tuple[int, str]:
    tls = tls or pki.issue(ADMIN, organizations=("kubeadm:cluster-admins",))
    connection = HTTPSConnection(
        "127.0.0.1", server.https_port, timeout=60, context=client_context(tls)
    )
    headers = {"Content-Type": row.content_type, **dict(row.headers)}
    try:
        with suppress(BrokenPipeError):  # refused before all of it was read: the answer is there
            connection.request(row.method, row.path, row.body, headers)
        response = connection.getresponse()
        data = response.read().decode()
    finally:
        connection.close()
    try:
        return response.status, str(json.loads(data).get("message", data))
    except ValueError:
        return response.status, data


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: row.name.encode("unicode_escape").decode()[:80]
)
def test_bad_input_is_refused_by_name(world: Cluster, pki: Pki, row: Row) -> None:
    code, text = send(world.server, pki, row)
    assert code == row.code, text[:500]
    assert row.text in text


def _rest(world: Cluster, pki: Pki) -> Rest:
    return Rest(world.server, pki.issue(ADMIN, organizations=("kubeadm:cluster-admins",)))


@pytest.fixture
def rpc(world: Cluster, pki: Pki) -> Iterator[Grpc]:
    made = Grpc(world.server, pki.issue(ADMIN, organizations=("kubeadm:cluster-admins",)))
    yield made
    made.close()


DEEP = '{"metadata":{"name":"bad"},"data":' + '{"a":' * 900 + "1" + "}" * 900 + "}"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (encoded(bad_inputs.config_map() | {"kind": "Secret"}), 400, "Secret"),
        (encoded(bad_inputs.config_map() | {"apiVersion": "v2"}), 400, "(v2)"),
        (b'{"metadata":{"name":"bad"},"data":{"a":"\\ud800"}}', 400, "unrecognized"),
        (DEEP.encode(), 400, ""),
        (b'{"metadata":{"name":"bad"},"x":[' + b"1," * 500_000 + b"1]}", 413, "values"),
        (b"garbage", 400, "unrecognized"),
        (b"[]", 400, "cannot unmarshal array"),
    ],
    ids=["kind", "version", "surrogate", "deep", "many", "garbage", "list"],
)
def test_the_components_port_refuses_the_same_bodies(
    rpc: Grpc, body: bytes, code: int, text: str
) -> None:
    request = pb.CreateRequest(ref=ref("configmaps", namespace="default"), json=body)
    answer = rpc.call("Create", request)
    assert (answer.code, text in answer.message) == (code, True), answer


def test_the_components_port_refuses_numbers_that_do_not_fit(rpc: Grpc) -> None:
    deployments = ref("deployments", namespace="default", group="apps")
    whole = encoded(bad_inputs.deployment(replicas=0)).replace(
        b'"replicas": 0', f'"replicas": {HUGE}'.encode()
    )
    answer = rpc.call("Create", pb.CreateRequest(ref=deployments, json=whole))
    assert (answer.code, "of type int32" in answer.message) == (400, True)
    patch = pb.PatchRequest(
        ref=ref("deployments", "web", "default", group="apps"),
        patch_type=bad_inputs.MERGE,
        patch=f'{{"spec":{{"replicas":{HUGE}}}}}'.encode(),
    )
    answer = rpc.call("Patch", patch)
    assert (answer.code, "of type int32" in answer.message) == (400, True)


def test_the_components_port_refuses_versions_and_limits_that_there_are_not(rpc: Grpc) -> None:
    wrong = pb.Ref(version="v2", resource="configmaps", namespace="default", name="base")
    assert rpc.call("Get", pb.GetRequest(ref=wrong)).code == 404
    maps = ref("configmaps", namespace="default")
    assert rpc.call("List", pb.ListRequest(ref=maps, limit=-1)).code == 400
    frob = ref("configmaps", "base", "default", sub="frob")
    assert rpc.call("Update", pb.UpdateRequest(ref=frob, json=b"{}")).code == 404
    dry = pb.DeleteRequest(ref=ref("configmaps", "base", "default"), options=b'{"dryRun":["x"]}')
    assert rpc.call("Delete", dry).code == 422


def test_a_warning_repeats_nothing_that_could_end_its_header(world: Cluster, pki: Pki) -> None:
    wrong = {"a\r\nX-Evil: 1": 1, "b" * 100_000: 2} | {f"k{n}": n for n in range(5_000)}
    made = bad_inputs.config_map(metadata={"name": "warned"}, **wrong)
    row = Row("", "", "POST", bad_inputs.MAPS, encoded(made), bad_inputs.JSON, 201, "")
    assert send(world.server, pki, row)[0] == 201


def test_times_are_stored_as_upstream_writes_them(world: Cluster, pki: Pki) -> None:
    """RFC 3339 of any zone and precision becomes whole seconds of UTC; a MicroTime keeps six."""
    rest = _rest(world, pki)
    lease = bad_inputs.lease(renewTime="2026-01-02T03:04:05.123456+01:00")
    lease["metadata"] = {"name": "zoned"}
    made = rest.call("POST", bad_inputs.LEASES, lease)
    assert made.body["spec"]["renewTime"] == "2026-01-02T02:04:05.123456Z"
    event = bad_inputs.event(
        firstTimestamp="2026-01-02T03:04:05.999+01:00", lastTimestamp=None,
        eventTime="2026-01-02T03:04:05.000001Z", metadata={"name": "zoned"},
    )  # fmt: skip
    made = rest.call("POST", f"{bad_inputs.CORE}/events", event)
    assert made.body["firstTimestamp"] == "2026-01-02T02:04:05Z"
    assert made.body["eventTime"] == "2026-01-02T03:04:05.000001Z"
    assert "lastTimestamp" not in made.body
    events = world.kubectl("events", "-n", "default")
    assert "R" in events.stdout


def test_an_apply_works_on_an_object_whose_managed_fields_are_garbage(
    world: Cluster, pki: Pki
) -> None:
    """What an older version stored must not break applies for ever: the entry owns nothing."""
    rest = _rest(world, pki)
    name = "old-garbage"
    made: dict[str, Any] = bad_inputs.config_map(metadata={"name": name})
    assert rest.call("POST", bad_inputs.MAPS, made).code == 201
    garbage = {"manager": "old", "operation": "Apply", "fieldsV1": {"frob": {"k:{": 5}}}
    stored = encoded({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "managedFields": [garbage]},
    })  # fmt: skip
    put_into_store(world, f"/registry/configmaps/default/{name}", stored)
    path = f"{bad_inputs.MAPS}/{name}"
    for manager in ("old", "new"):
        applied = {"apiVersion": "v1", "kind": "ConfigMap", "data": {manager: "x"}}
        answer = rest.patch(path, "apply", applied, fieldManager=manager, force="true")
        assert answer.code == 200, answer
    assert set(rest.get(path).body["data"]) == {"old", "new"}


def put_into_store(world: Cluster, key: str, value: bytes) -> None:
    tls = world.server.client
    subprocess.run(
        ["etcdctl", f"--endpoints={world.store.url}", f"--cacert={tls.ca}", f"--cert={tls.cert}",
         f"--key={tls.key}", "put", key],
        input=value, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
