"""The requests of etcd's API that the harness makes, as coroutines on one member."""

from __future__ import annotations

from typing import Any

from kube.stubs.etcd import kv_pb2, rpc_pb2, rpc_pb2_grpc
from tests.robustness.history import Event, Found, Op

Channel = Any
SECONDS = 1.0


def _kv(channel: Channel) -> Any:
    """Our channels have the shape that generated stubs expect, and no type of theirs."""
    return rpc_pb2_grpc.KVStub(channel)


def _lease(channel: Channel) -> Any:
    return rpc_pb2_grpc.LeaseStub(channel)


def _end(prefix: str) -> bytes:
    """The first key behind all that begin so."""
    key = prefix.encode()
    return key[:-1] + bytes([key[-1] + 1]) if key else b"\0"


def _range(what: str, *, serializable: bool = False) -> rpc_pb2.RangeRequest:
    if what.endswith("*"):
        prefix = what[:-1]
        return rpc_pb2.RangeRequest(
            key=prefix.encode(), range_end=_end(prefix), serializable=serializable
        )
    return rpc_pb2.RangeRequest(key=what.encode(), serializable=serializable)


async def perform(channel: Channel, op: Op) -> None:
    """Send the request and fill its answer in."""
    await _PERFORM[op.kind](channel, op)


async def _get(channel: Channel, op: Op) -> None:
    request = _range(op.reads[0], serializable=op.kind == "stale")
    _take_range(op, await _kv(channel).Range(request, timeout=SECONDS))


async def _put(channel: Channel, op: Op) -> None:
    request = _put_request(op, 0)
    answer = await _kv(channel).Put(request, timeout=SECONDS)
    _take_put(op, answer)
    op.revision = answer.header.revision


def _put_request(op: Op, number: int) -> rpc_pb2.PutRequest:
    write = op.writes[number]
    assert write.value is not None
    return rpc_pb2.PutRequest(
        key=write.key.encode(), value=write.value.encode(), lease=write.lease, prev_kv=True
    )


def _delete_request(op: Op, number: int) -> rpc_pb2.DeleteRangeRequest:
    return rpc_pb2.DeleteRangeRequest(key=op.writes[number].key.encode(), prev_kv=True)


async def _delete(channel: Channel, op: Op) -> None:
    request = _delete_request(op, 0)
    answer = await _kv(channel).DeleteRange(request, timeout=SECONDS)
    _take_delete(op, answer)
    op.revision = answer.header.revision


async def _txn(channel: Channel, op: Op) -> None:
    request = rpc_pb2.TxnRequest()
    for compare in op.compares:
        request.compare.add(
            key=compare.key.encode(), target=rpc_pb2.Compare.MOD, mod_revision=compare.mod
        )
    for number, write in enumerate(op.writes):
        if write.value is None:
            request.success.add(request_delete_range=_delete_request(op, number))
        else:
            request.success.add(request_put=_put_request(op, number))
    for what in op.reads:
        request.success.add(request_range=_range(what))
        request.failure.add(request_range=_range(what))
    answer = await _kv(channel).Txn(request, timeout=SECONDS)
    op.succeeded = answer.succeeded
    op.revision = answer.header.revision
    for response in answer.responses:
        match response.WhichOneof("response"):
            case "response_range":
                op.found += _found(response.response_range.kvs)
            case "response_put":
                _take_put(op, response.response_put)
            case "response_delete_range":
                _take_delete(op, response.response_delete_range)


def _take_range(op: Op, answer: rpc_pb2.RangeResponse) -> None:
    op.revision = answer.header.revision
    op.found = _found(answer.kvs)


def _take_put(op: Op, answer: rpc_pb2.PutResponse) -> None:
    if answer.HasField("prev_kv"):
        op.previous += _found([answer.prev_kv])


def _take_delete(op: Op, answer: rpc_pb2.DeleteRangeResponse) -> None:
    op.deleted += answer.deleted
    op.previous += _found(answer.prev_kvs)


def _found(kvs: Any) -> list[Found]:
    return [Found(kv.key.decode(), kv.value.decode(), kv.mod_revision, kv.lease) for kv in kvs]


async def _grant(channel: Channel, op: Op) -> None:
    request = rpc_pb2.LeaseGrantRequest(ID=op.lease, TTL=op.ttl)
    answer = await _lease(channel).LeaseGrant(request, timeout=SECONDS)
    op.ttl, op.revision = answer.TTL, answer.header.revision


async def _renew(channel: Channel, op: Op) -> None:
    request = rpc_pb2.LeaseKeepAliveRequest(ID=op.lease)
    call: Any = _lease(channel).LeaseKeepAlive(None, timeout=SECONDS)
    try:
        await call.write(request)
        answer = await call.read()
    finally:
        call.cancel()
    if answer is None:
        raise ConnectionError("the stream of keep-alives ended")
    op.ttl, op.revision = answer.TTL, answer.header.revision


async def _revoke(channel: Channel, op: Op) -> None:
    request = rpc_pb2.LeaseRevokeRequest(ID=op.lease)
    answer = await _lease(channel).LeaseRevoke(request, timeout=SECONDS)
    op.revision = answer.header.revision


async def _compact(channel: Channel, op: Op) -> None:
    request = rpc_pb2.CompactionRequest(revision=op.target)
    answer = await _kv(channel).Compact(request, timeout=SECONDS)
    op.revision = answer.header.revision


_PERFORM = {
    "get": _get,
    "stale": _get,
    "put": _put,
    "delete": _delete,
    "txn": _txn,
    "grant": _grant,
    "renew": _renew,
    "revoke": _revoke,
    "compact": _compact,
}


def watch_request(
    prefix: str, start: int, *, prev_kv: bool, puts: bool = True, deletes: bool = True
) -> rpc_pb2.WatchRequest:
    create = rpc_pb2.WatchCreateRequest(
        key=prefix.encode() or b"\0",
        range_end=_end(prefix),
        start_revision=start,
        prev_kv=prev_kv,
        progress_notify=True,
    )
    if not puts:
        create.filters.append(rpc_pb2.WatchCreateRequest.NOPUT)
    if not deletes:
        create.filters.append(rpc_pb2.WatchCreateRequest.NODELETE)
    return rpc_pb2.WatchRequest(create_request=create)


def event_of(event: kv_pb2.Event) -> Event:
    kv = event.kv
    deleted = event.type == kv_pb2.Event.DELETE
    previous = (event.prev_kv.value.decode(), event.prev_kv.mod_revision)
    return Event(
        kv.key.decode(),
        None if deleted else kv.value.decode(),
        kv.mod_revision,
        kv.create_revision,
        kv.version,
        kv.lease,
        previous if event.HasField("prev_kv") else None,
    )
