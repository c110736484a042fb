"""The store's calls as the api-server uses them: Range, four shapes of Txn, Compact, LeaseGrant.

This is the same small part of etcd v3 that kube-apiserver uses, so any etcd (or kine) serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kube.rpc.channel import Channel
from kube.stubs.etcd import rpc_pb2 as pb
from kube.stubs.etcd.kv_pb2 import KeyValue
from master.apiserver.etcd3.connection import Connection

# A page of 10,000 pods takes the store a while; small reads keep the short attempt.
LIST_ATTEMPT_SECONDS = 15.0
KV = pb.DESCRIPTOR.services_by_name["KV"]
_LEASE = pb.DESCRIPTOR.services_by_name["Lease"]


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all keys that start with `prefix`."""
    last = bytearray(prefix)
    while last:
        if last[-1] < 0xFF:
            last[-1] += 1
            return bytes(last)
        last.pop()
    return b"\0"


@dataclass(frozen=True, slots=True)
class Page:
    """One Range answer: key order, `count` of all keys in the range, and the store's revision."""

    kvs: Sequence[KeyValue]
    revision: int
    more: bool
    count: int


ANY = -1


@dataclass(frozen=True, slots=True)
class Change:
    """Write `key` if its mod_revision is still `expected` (0: does not exist). None deletes.

    With ANY no compare is made: for keys that another key of the same Txn guards.
    """

    key: bytes
    expected: int
    value: bytes | None
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a Txn went through, at which revision, and else what the keys hold now."""

    succeeded: bool
    revision: int
    current: dict[bytes, KeyValue] = field(default_factory=dict)


class Store:
    """Typed calls on a `Connection`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        total_seconds: float = 10.0,
    ) -> Page:
        request = pb.RangeRequest(
            key=key, range_end=range_end, limit=limit, revision=revision, keys_only=keys_only
        )
        seconds = LIST_ATTEMPT_SECONDS if range_end and limit != 1 else 3.0

        async def attempt(channel: Channel, timeout: float) -> pb.RangeResponse:
            found: pb.RangeResponse = await channel.stub(KV).Range(request, timeout=timeout)
            return found

        operation = "list" if range_end else "get"
        found = await self.connection.call(operation, attempt, seconds, max(total_seconds, seconds))
        return Page(found.kvs, found.header.revision, found.more, found.count)

    async def get(self, key: bytes) -> tuple[KeyValue | None, int]:
        """The key's current value (linearizable) and the store's revision."""
        page = await self.range(key, limit=1)
        return (page.kvs[0] if page.kvs else None), page.revision

    async def revision(self, total_seconds: float = 10.0) -> int:
        """The store's current revision, by a linearizable read of a key that need not exist."""
        page = await self.range(
            b"/registry/health", limit=1, keys_only=True, total_seconds=total_seconds
        )
        return page.revision

    async def commit(self, changes: Sequence[Change]) -> Outcome:
        """Make all changes or none; on failure tell what the keys hold.

        The call is repeated when an answer is lost. If the lost attempt had gone through, the
        repetition fails its compare but finds exactly our values, and that is success: an
        object's value holds its uid and so cannot be equal by accident on create.
        """
        request = pb.TxnRequest(
            compare=[
                pb.Compare(
                    result=pb.Compare.EQUAL,
                    target=pb.Compare.MOD,
                    key=change.key,
                    mod_revision=change.expected,
                )
                for change in changes
                if change.expected != ANY
            ],
            success=[_operation(change) for change in changes],
            failure=[
                pb.RequestOp(request_range=pb.RangeRequest(key=change.key)) for change in changes
            ],
        )
        attempts = 0

        async def attempt(channel: Channel, timeout: float) -> pb.TxnResponse:
            nonlocal attempts
            attempts += 1
            answer: pb.TxnResponse = await channel.stub(KV).Txn(request, timeout=timeout)
            return answer

        answer = await self.connection.call("txn", attempt)
        if answer.succeeded:
            return Outcome(True, answer.header.revision)
        current = {kv.key: kv for op in answer.responses for kv in op.response_range.kvs}
        if attempts > 1 and _is_ours(changes, current):
            return Outcome(True, _written_at(changes, current) or answer.header.revision)
        return Outcome(False, answer.header.revision, current)

    async def compact(self, revision: int) -> None:
        request = pb.CompactionRequest(revision=revision)

        async def attempt(channel: Channel, timeout: float) -> pb.CompactionResponse:
            stub = channel.stub(KV)
            answer: pb.CompactionResponse = await stub.Compact(request, timeout=timeout)
            return answer

        await self.connection.call("compact", attempt)

    async def grant_lease(self, ttl_seconds: int) -> int:
        request = pb.LeaseGrantRequest(TTL=ttl_seconds)

        async def attempt(channel: Channel, timeout: float) -> pb.LeaseGrantResponse:
            stub = channel.stub(_LEASE)
            answer: pb.LeaseGrantResponse = await stub.LeaseGrant(request, timeout=timeout)
            return answer

        return (await self.connection.call("leaseGrant", attempt)).ID


def _operation(change: Change) -> pb.RequestOp:
    if change.value is None:
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=change.key))
    return pb.RequestOp(
        request_put=pb.PutRequest(key=change.key, value=change.value, lease=change.lease)
    )


def _is_ours(changes: Sequence[Change], current: dict[bytes, KeyValue]) -> bool:
    for change in changes:
        found = current.get(change.key)
        if change.value is None:
            if found is not None:
                return False
        elif found is None or found.value != change.value:
            return False
    return True


def _written_at(changes: Sequence[Change], current: dict[bytes, KeyValue]) -> int:
    return max((kv.mod_revision for kv in current.values()), default=0)
