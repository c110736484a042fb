"""What must not get in, and must not bring a member down."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kube.component.tls import TlsFiles, grpc_channel_credentials
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.component.kvstore_harness import StoreCluster, store_cluster, wait_until
from tests.component.pki_fixture import Pki


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[StoreCluster]:
    with store_cluster(
        tmp_path_factory.mktemp("store"), pki, 1, "--quota-backend-bytes", "8000000"
    ) as running:
        yield running


@pytest.fixture
def channel(cluster: StoreCluster) -> Iterator[grpc.Channel]:
    credentials = grpc_channel_credentials(cluster.client.material())
    target = f"127.0.0.1:{cluster.members[0].client_port}"
    with grpc.secure_channel(target, credentials) as open_channel:
        yield open_channel


def refused(call: grpc.UnaryUnaryMultiCallable, request: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=60)
    return raised.value.code(), raised.value.details()


def test_a_request_over_the_limit(cluster: StoreCluster, channel: grpc.Channel) -> None:
    """1.5 MiB is etcd's limit; its text up to a bit above, the transport's beyond."""
    kv = rpc_pb2_grpc.KVStub(channel)
    big = rpc_pb2.PutRequest(key=b"big", value=b"x" * (1600 << 10))
    assert refused(kv.Put, big) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: request is too large",
    )
    huge = rpc_pb2.PutRequest(key=b"big", value=b"x" * (3 << 20))
    assert refused(kv.Put, huge)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    kv.Put(rpc_pb2.PutRequest(key=b"big", value=b"x" * (1400 << 10)), timeout=60)
    kv.DeleteRange(rpc_pb2.DeleteRangeRequest(key=b"big"), timeout=60)


def test_malformed_requests_get_etcds_errors(channel: grpc.Channel) -> None:
    kv = rpc_pb2_grpc.KVStub(channel)
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert refused(kv.Put, rpc_pb2.PutRequest()) == (
        invalid,
        "etcdserver: key is not provided",
    )
    put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"k"))
    assert refused(kv.Txn, rpc_pb2.TxnRequest(success=[put, put])) == (
        invalid,
        "etcdserver: duplicate key given in txn request",
    )
    assert refused(kv.Txn, rpc_pb2.TxnRequest(success=[put] * 129)) == (
        invalid,
        "etcdserver: too many operations in txn request",
    )
    unknown = channel.unary_unary("/etcdserverpb.Auth/NoSuchCall")
    assert refused(unknown, b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message(cluster: StoreCluster, channel: grpc.Channel) -> None:
    put = channel.unary_unary("/etcdserverpb.KV/Put")
    with pytest.raises(grpc.RpcError):
        put(b"\xff\xff\xff\xff garbage", timeout=60)
    cluster.etcdctl("endpoint", "health")


def tls_socket(port: int, files: TlsFiles | None, ca: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    if files is not None:
        context.load_cert_chain(files.cert, files.key)
    raw = socket.create_connection(("127.0.0.1", port), timeout=60)
    return context.wrap_socket(raw, server_hostname="127.0.0.1")


@pytest.mark.parametrize("what", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, os.urandom(4096)])
def test_garbage_on_both_ports(cluster: StoreCluster, what: bytes) -> None:
    member = cluster.members[0]
    for port in (member.client_port, member.peer_port):
        with tls_socket(port, cluster.client, cluster.client.ca) as sock:
            sock.sendall(what)
            sock.settimeout(5)  # it may wait for more
            try:
                while sock.recv(4096):
                    pass
            except (ConnectionError, TimeoutError):
                pass
    cluster.etcdctl("endpoint", "health")
    assert member.process is not None
    assert member.process.poll() is None


def lets_in(port: int, files: TlsFiles | None, ca: Path, seconds: float) -> bool:
    """With TLS 1.3 a refusal may come only after the client thinks that it is in."""
    try:
        with tls_socket(port, files, ca) as sock:
            sock.settimeout(seconds)
            return sock.recv(1) != b""
    except TimeoutError:
        return True  # it waits for us to speak
    except (ssl.SSLError, ConnectionError):
        return False


def test_only_certificates_of_our_ca_come_in(cluster: StoreCluster, tmp_path: Path) -> None:
    stranger = Pki.create(tmp_path / "other", "other-ca").issue("stranger")
    member = cluster.members[0]
    for port in (member.client_port, member.peer_port):
        assert lets_in(port, cluster.client, cluster.client.ca, 1)
        for identity in (None, stranger):
            assert not lets_in(port, identity, cluster.client.ca, 60)
    wrong = cluster.etcdctl_command("get", "x")
    wrong[3:5] = [f"--cert={stranger.cert}", f"--key={stranger.key}"]
    result = subprocess.run(
        [*wrong[:1], "--command-timeout=2s", *wrong[1:]],
        env={**os.environ, "ETCDCTL_API": "3"},
        capture_output=True,
        timeout=60,
    )
    assert result.returncode != 0


def test_quota_raises_the_alarm_and_disarming_heals(
    cluster: StoreCluster, channel: grpc.Channel
) -> None:
    kv = rpc_pb2_grpc.KVStub(channel)
    value = b"x" * (1 << 20)
    with pytest.raises(grpc.RpcError) as raised:
        for number in range(20):
            kv.Put(rpc_pb2.PutRequest(key=b"q%d" % number, value=value), timeout=60)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.details() == "etcdserver: mvcc: database space exceeded"
    wait_until(lambda: "alarm:NOSPACE" in cluster.etcdctl("alarm", "list").stdout, 60, "the alarm")
    kv.DeleteRange(rpc_pb2.DeleteRangeRequest(key=b"q", range_end=b"r"), timeout=60)
    revision = kv.Range(rpc_pb2.RangeRequest(key=b"q"), timeout=60).header.revision
    kv.Compact(rpc_pb2.CompactionRequest(revision=revision, physical=True), timeout=60)
    assert refused(kv.Put, rpc_pb2.PutRequest(key=b"q"))[1].endswith("space exceeded")
    cluster.etcdctl("alarm", "disarm")
    kv.Put(rpc_pb2.PutRequest(key=b"q", value=b"fits"), timeout=60)


def test_a_damaged_log_stops_the_member_with_the_way_out(tmp_path: Path, pki: Pki) -> None:
    with store_cluster(tmp_path, pki, 1) as damaged:
        member = damaged.members[0]
        for number in range(5):
            damaged.etcdctl("put", f"k{number}", "v")
        member.kill()
        segment = next((member.data_dir / "member" / "wal").glob("*.wal"))
        data = bytearray(segment.read_bytes())
        torn = bytes(data) + b"MWAL half a record"
        segment.write_bytes(torn)
        member.start()
        damaged.wait_healthy()
        assert "torn tail cut off" in member.log()
        assert damaged.etcdctl("get", "k4", "--print-value-only").stdout == "v\n"
        member.kill()
        data = bytearray(segment.read_bytes())
        data[data.index(b"k2")] ^= 1
        segment.write_bytes(data)
        member.start()
        assert member.process is not None
        assert member.process.wait(timeout=60) == 1
        assert "in data that had been acknowledged" in member.log()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--initial-cluster", "m1"], "is not of the form name=https://host:port"),
        (["--listen-client-urls", "here:2379"], "--listen-client-urls"),
        (["--election-timeout", "200"], "at least 5 times"),
        (["--name", "x", "--initial-cluster", "y=http://127.0.0.1:1"], "but not --name"),
        (["--cert-file", "/nowhere.crt"], "--key-file is missing"),
    ],
)
def test_flags_that_make_no_sense(tmp_path: Path, flags: list[str], message: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "master.kvstore", "--data-dir", str(tmp_path / "d"), *flags],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert result.returncode != 0
    assert message in result.stderr + result.stdout
