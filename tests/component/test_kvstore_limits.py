"""Limits and their flags, request by request against stock etcd: same code, same message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from kube.component.tls import grpc_channel_credentials
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.component.kvstore_harness import store_cluster, wait_until
from tests.component.pki_fixture import Pki

Answer = tuple[str, str]
Call = Callable[["Stubs"], Any]
_SECONDS = 60.0


class Stubs:
    def __init__(self, channel: grpc.Channel) -> None:
        self.kv = rpc_pb2_grpc.KVStub(channel)
        self.lease = rpc_pb2_grpc.LeaseStub(channel)
        self.maintenance = rpc_pb2_grpc.MaintenanceStub(channel)


@contextmanager
def both(directory: Path, pki: Pki, *flags: str) -> Iterator[tuple[Stubs, Stubs]]:
    """Our store and etcd, one member each, with the same flags."""
    with (
        _stubs(directory / "ours", pki, (), flags) as ours,
        _stubs(directory / "etcd", pki, ("etcd",), flags) as stock,
    ):
        yield ours, stock


@contextmanager
def _stubs(
    directory: Path, pki: Pki, program: tuple[str, ...], flags: tuple[str, ...]
) -> Iterator[Stubs]:
    directory.mkdir()
    with store_cluster(directory, pki, 1, *flags, program=program) as cluster:
        credentials = grpc_channel_credentials(cluster.client.material())
        target = f"127.0.0.1:{cluster.members[0].client_port}"
        with grpc.secure_channel(target, credentials) as channel:
            yield Stubs(channel)


def outcome(call: Call, stubs: Stubs) -> Answer:
    try:
        call(stubs)
    except grpc.RpcError as error:
        too_long = "received message larger than max"
        details = error.details() or ""
        # The transports' own words, with their own numbers.
        same = too_long if too_long in details.lower() else details
        return error.code().name, same
    return "OK", ""


def compare(stubs: tuple[Stubs, Stubs], calls: dict[str, Call]) -> dict[str, Answer]:
    """What both answer. Fails with the calls that they answer differently."""
    ours, theirs = ({name: outcome(call, one) for name, call in calls.items()} for one in stubs)
    different = {name: (ours[name], theirs[name]) for name in calls if ours[name] != theirs[name]}
    assert not different, "\n".join(f"{n}: ours {o}, etcd {t}" for n, (o, t) in different.items())
    return theirs


def put(size: int, key: bytes = b"k") -> Call:
    request = rpc_pb2.PutRequest(key=key, value=b"x" * size)
    return lambda stubs: stubs.kv.Put(request, timeout=_SECONDS)


def _put_op(number: int) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"%d" % number))


def txn(success: int = 0, failure: int = 0, compares: int = 0, nested: int = 0) -> Call:
    request = rpc_pb2.TxnRequest(
        success=[_put_op(n) for n in range(success)],
        failure=[_put_op(n) for n in range(failure)],
        compare=[rpc_pb2.Compare(key=b"%d" % n) for n in range(compares)],
    )
    if nested:
        inner = rpc_pb2.TxnRequest(success=[_put_op(1000 + n) for n in range(nested)])
        request.success.add(request_txn=inner)
    return lambda stubs: stubs.kv.Txn(request, timeout=_SECONDS)


def test_the_defaults_are_etcds(tmp_path: Path, pki: Pki) -> None:
    with both(tmp_path, pki) as stubs:
        answers = compare(
            stubs,
            {
                "1,572,000 bytes": put(1_572_000),
                "1,573,000 bytes": put(1_573_000),
                "3 MiB": put(3 << 20),
                "128 puts": txn(success=128),
                "129 puts": txn(success=129),
                "129 in the other branch": txn(failure=129),
                "128 comparisons": txn(success=1, compares=128),
                "129 comparisons": txn(compares=129),
                "1 and 127 nested": txn(nested=127),
                "1 and 128 nested": txn(nested=128),
                "64 and 63 nested": txn(success=64, nested=63),
                "64 and 64 nested": txn(success=64, nested=64),
            },
        )
    refused = {name for name, (code, _) in answers.items() if code != "OK"}
    assert {"1,573,000 bytes", "3 MiB", "129 puts", "129 comparisons"} <= refused
    assert not {"1,572,000 bytes", "128 puts", "1 and 127 nested"} & refused


def test_the_flags_move_the_limits_as_etcds_do(tmp_path: Path, pki: Pki) -> None:
    flags = ("--max-txn-ops", "3", "--max-request-bytes", "10000", "--quota-backend-bytes", "-1")
    with both(tmp_path, pki, *flags) as stubs:
        answers = compare(
            stubs,
            {
                "9,900 bytes": put(9_900),
                "10,100 bytes": put(10_100),
                "500,000 bytes": put(500_000),
                "600,000 bytes": put(600_000),
                "3 puts": txn(success=3),
                "4 puts": txn(success=4),
                "1 and 2 nested": txn(nested=2),
                "1 and 3 nested": txn(nested=3),
            },
        )
    assert answers["9,900 bytes"] == answers["3 puts"] == ("OK", "")
    assert answers["4 puts"][1] == "etcdserver: too many operations in txn request"
    assert answers["600,000 bytes"][0] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("alarm", ["NOSPACE", "CORRUPT"])
def test_under_an_alarm_the_same_is_refused(tmp_path: Path, pki: Pki, alarm: str) -> None:
    kind = rpc_pb2.AlarmType.Value(alarm)

    def ask(action: int) -> Call:
        request = rpc_pb2.AlarmRequest(action=action, memberID=77, alarm=kind)  # type: ignore[arg-type]  # the enum's number
        return lambda stubs: stubs.maintenance.Alarm(request, timeout=_SECONDS)

    a_range = rpc_pb2.RangeRequest(key=b"k")
    local = rpc_pb2.RangeRequest(key=b"k", serializable=True)
    reading = rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp(request_range=a_range)])
    with both(tmp_path, pki) as stubs:
        answers = compare(
            stubs,
            {
                "before": put(1),
                "raise": ask(rpc_pb2.AlarmRequest.ACTIVATE),
                "range": lambda s: s.kv.Range(a_range, timeout=_SECONDS),
                "local range": lambda s: s.kv.Range(local, timeout=_SECONDS),
                "reading txn": lambda s: s.kv.Txn(reading, timeout=_SECONDS),
                "put": put(1),
                "txn": txn(success=1),
                "delete": lambda s: s.kv.DeleteRange(
                    rpc_pb2.DeleteRangeRequest(key=b"x"), timeout=_SECONDS
                ),
                "compact": lambda s: s.kv.Compact(
                    rpc_pb2.CompactionRequest(revision=2), timeout=_SECONDS
                ),
                "grant": lambda s: s.lease.LeaseGrant(
                    rpc_pb2.LeaseGrantRequest(ID=5, TTL=60), timeout=_SECONDS
                ),
                "revoke": lambda s: s.lease.LeaseRevoke(
                    rpc_pb2.LeaseRevokeRequest(ID=5), timeout=_SECONDS
                ),
                "leases": lambda s: s.lease.LeaseLeases(
                    rpc_pb2.LeaseLeasesRequest(), timeout=_SECONDS
                ),
                "hash": lambda s: s.maintenance.HashKV(rpc_pb2.HashKVRequest(), timeout=_SECONDS),
                "status": lambda s: s.maintenance.Status(rpc_pb2.StatusRequest(), timeout=_SECONDS),
                "disarm": ask(rpc_pb2.AlarmRequest.DEACTIVATE),
                "after": put(1),
            },
        )
    assert answers["put"][0] == {"NOSPACE": "RESOURCE_EXHAUSTED", "CORRUPT": "DATA_LOSS"}[alarm]
    assert answers["range"] == answers["after"] == ("OK", "")


def test_a_full_quota_and_the_way_back(tmp_path: Path, pki: Pki) -> None:
    """Fill, be refused, delete, compact, defragment, disarm, write again."""
    raised = rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.GET)

    def disarm(stubs: Stubs) -> None:
        """Each by its member, as etcdctl does: nothing stands for all of them."""
        off = rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.DEACTIVATE, alarm=rpc_pb2.NOSPACE)
        assert not stubs.maintenance.Alarm(off, timeout=_SECONDS).alarms
        for alarm in stubs.maintenance.Alarm(raised, timeout=_SECONDS).alarms:
            off.memberID = alarm.memberID
            assert list(stubs.maintenance.Alarm(off, timeout=_SECONDS).alarms) == [alarm]
        assert not stubs.maintenance.Alarm(raised, timeout=_SECONDS).alarms

    def fill(stubs: Stubs) -> None:
        for number in range(40):
            put(1 << 20, b"q%d" % number)(stubs)

    def alarms(stubs: Stubs) -> None:
        def kinds() -> list[int]:
            return [
                alarm.alarm for alarm in stubs.maintenance.Alarm(raised, timeout=_SECONDS).alarms
            ]

        wait_until(lambda: kinds() == [rpc_pb2.NOSPACE], 60, "the alarm, raised beside the answer")

    def compact(stubs: Stubs) -> None:
        revision = stubs.kv.Range(rpc_pb2.RangeRequest(key=b"q"), timeout=_SECONDS).header.revision
        request = rpc_pb2.CompactionRequest(revision=revision, physical=True)
        stubs.kv.Compact(request, timeout=_SECONDS)

    doomed = rpc_pb2.DeleteRangeRequest(key=b"q", range_end=b"r")
    defragment = rpc_pb2.DefragmentRequest()
    with both(tmp_path, pki, "--quota-backend-bytes", "16000000") as stubs:
        answers = compare(
            stubs,
            {
                "fill": fill,
                "alarms": alarms,
                "put": put(1),
                "grant": lambda s: s.lease.LeaseGrant(
                    rpc_pb2.LeaseGrantRequest(TTL=60), timeout=_SECONDS
                ),
                "delete": lambda s: s.kv.DeleteRange(doomed, timeout=_SECONDS),
                "compact": compact,
                "still": put(1),
                "defragment": lambda s: s.maintenance.Defragment(defragment, timeout=_SECONDS),
                "disarm": disarm,
                "after": put(1),
            },
        )
    full = ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded")
    assert answers["fill"] == answers["put"] == answers["still"] == full
    assert answers["after"] == ("OK", "")
