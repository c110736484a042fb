"""The client port over plain HTTP in bad times: no leader, alarms, requests that mean harm, an end
with streams open. What it says in good times is held against stock etcd (tests/differential)."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.component.kvstore_harness import StoreCluster, StoreProcess, store_cluster, wait_until
from tests.component.pki_fixture import Pki

KEY = "YQ=="


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[StoreCluster]:
    with store_cluster(tmp_path_factory.mktemp("store"), pki, 1) as running:
        yield running


@contextmanager
def opened(
    cluster: StoreCluster, member: StoreProcess | None = None, port: int = 0
) -> Iterator[http.client.HTTPSConnection]:
    context = ssl.create_default_context(cafile=str(cluster.client.ca))
    context.load_cert_chain(cluster.client.cert, cluster.client.key)
    port = port or (member or cluster.members[0]).client_port
    found = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    try:
        yield found
    finally:
        found.close()


def get(cluster: StoreCluster, path: str, member: StoreProcess | None = None) -> tuple[int, str]:
    with opened(cluster, member) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def post(cluster: StoreCluster, path: str, body: str) -> tuple[int, dict[str, object]]:
    with opened(cluster) as connection:
        connection.request("POST", path, body=body)
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data.startswith(b"{") else {}


def test_an_alarm_is_no_health(cluster: StoreCluster) -> None:
    alarm = '{"action":"%s","alarm":"NOSPACE"}'
    assert post(cluster, "/v3/maintenance/alarm", alarm % "ACTIVATE")[0] == 200
    assert get(cluster, "/health") == (503, '{"health":"false"}\n')
    assert get(cluster, "/health?serializable=true")[0] == 503
    assert get(cluster, "/health?exclude=NOSPACE") == (200, '{"health":"true"}')
    assert get(cluster, "/health?exclude=CORRUPT")[0] == 503
    assert post(cluster, "/v3/maintenance/alarm", alarm % "DEACTIVATE")[0] == 200
    assert get(cluster, "/health") == (200, '{"health":"true"}')


def test_an_alarm_without_a_name_is_no_health_either(cluster: StoreCluster) -> None:
    alarm = '{"action":"%s","alarm":77,"memberID":"1"}'
    assert post(cluster, "/v3/maintenance/alarm", alarm % "ACTIVATE")[0] == 200
    try:
        assert get(cluster, "/health") == (503, '{"health":"false"}\n')
        assert get(cluster, "/health?exclude=77")[0] == 200
    finally:
        assert post(cluster, "/v3/maintenance/alarm", alarm % "DEACTIVATE")[0] == 200
    assert get(cluster, "/health")[0] == 200


@pytest.mark.parametrize("depth", [47, 48, 49, 50, 51, 60, 300, 3000])
def test_nested_requests_stop_nobody(cluster: StoreCluster, depth: int) -> None:
    """What one member can read and another could not must not get into the log."""
    inner = f'{{"success":[{{"request_put":{{"key":"{KEY}"}}}}]}}'
    body = '{"success":[{"request_txn":' * depth + inner + "}]}" * depth
    status, answer = post(cluster, "/v3/kv/txn", body)
    assert status in (200, 400), answer
    assert post(cluster, "/v3/kv/put", f'{{"key":"{KEY}"}}')[0] == 200


def test_what_is_too_large_is_refused(cluster: StoreCluster) -> None:
    """By etcd's own limit, by that of a message, and by that of a body."""
    for size, expected in ((1_000_000, 200), (2_200_000, 400), (3_600_000, 429), (4_300_000, 413)):
        body = f'{{"key":"{KEY}","value":"{"A" * size}"}}'
        assert post(cluster, "/v3/kv/put", body)[0] == expected, size
    assert post(cluster, "/v3/kv/txn", '{"compare":[' + "{}," * 200_000 + "{}]}")[0] == 400
    assert post(cluster, "/v3/kv/put", f'{{"key":"{KEY}"}}')[0] == 200


def test_no_leader_is_no_health(tmp_path: Path, pki: Pki) -> None:
    """And a stream that is open ends with its member."""
    with store_cluster(tmp_path, pki, 3, "--heartbeat-interval=50") as three:
        last, *others = three.members
        for member in others:
            member.kill()
        wait_until(lambda: get(three, "/health", last)[0] == 503, 60, "no read gets through")
        # Who led takes itself for the leader until CheckQuorum; its reads fail before that.
        serializable = "/health?serializable=true"
        wait_until(lambda: get(three, serializable, last)[0] == 503, 60, "no leader")
        assert get(three, "/health", last)[0] == 503
        assert get(three, "/version", last)[0] == 200
        assert "etcd_server_has_leader 0.0" in get(three, "/metrics", last)[1]
        others[0].start()
        wait_until(lambda: get(three, "/health", last)[0] == 200, 60, "a leader")
        with opened(three, last) as watching:
            watching.request("POST", "/v3/watch", body=f'{{"create_request":{{"key":"{KEY}"}}}}')
            response = watching.getresponse()
            assert json.loads(response.readline())["result"]["created"]
            assert last.stop() == 0
            with suppress(http.client.IncompleteRead, OSError):
                assert response.read() == b""


def test_with_grpcio_the_client_port_is_grpc_alone(tmp_path: Path, pki: Pki) -> None:
    with store_cluster(tmp_path, pki, 1, "--rpc-transport=grpcio") as plain:
        with pytest.raises((http.client.HTTPException, OSError)):
            get(plain, "/health")
        with opened(plain, port=plain.members[0].metrics_port) as connection:
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
