"""Keys under a prefix as a queue: who created its key first has its turn, the others wait for the
one before them to vanish. Locks and elections are such queues (etcd: clientv3/concurrency).

Only requests that a client could make, in its name and by its permissions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kube.rpc.errors import Code, RpcError
from kube.rpc.service import CallContext
from kube.stubs.etcd import kv_pb2, rpc_pb2
from master.kvstore.errors import Compacted, StoreError
from master.kvstore.services.kv import KvService
from master.kvstore.services.lease import LeaseService
from master.kvstore.services.watch import WatchService

LEASE_SECONDS = 60  # of those who bring none
_Range = rpc_pb2.RangeRequest
_Create = rpc_pb2.WatchCreateRequest


@dataclass(frozen=True, slots=True)
class Place:
    """A key in the queue. Its creation's revision says whose turn it is."""

    key: bytes
    lease: int
    revision: int
    header: Any
    value: bytes


class Turns:
    def __init__(self, kv: KvService, watch: WatchService, lease: LeaseService) -> None:
        self._kv = kv
        self._watch = watch
        self._lease = lease
        self._leaving: set[asyncio.Task[None]] = set()

    async def lease(self, wanted: int, context: CallContext) -> int:
        """The client keeps it alive, not we: nobody knows here whether the client still lives."""
        if wanted:
            return wanted
        grant = rpc_pb2.LeaseGrantRequest(TTL=LEASE_SECONDS)
        return int((await self._lease.lease_grant(grant, context)).ID)

    async def join(self, prefix: bytes, lease: int, value: bytes, context: CallContext) -> Place:
        """Take a place, or find the one that this lease has already."""
        key = prefix + b"%x" % lease
        response = await self.txn(
            rpc_pb2.TxnRequest(
                compare=[created_at(key, 0)],
                success=[put(key, value, lease)],
                failure=[rpc_pb2.RequestOp(request_range=_Range(key=key))],
            ),
            context,
        )
        if response.succeeded:
            return Place(key, lease, response.header.revision, response.header, value)
        own = response.responses[0].response_range.kvs[0]
        return Place(key, lease, own.create_revision, response.header, own.value)

    async def txn(self, request: rpc_pb2.TxnRequest, context: CallContext) -> rpc_pb2.TxnResponse:
        return rpc_pb2.TxnResponse.FromString(await self._kv.txn(request, context))

    async def wait(self, prefix: bytes, place: Place, context: CallContext) -> Any:
        """Return when nobody is before `place`, with the header of the answer that said so.

        Who stops waiting, because its client is gone or for an error, gives its place up."""
        try:
            while True:
                before = await self.last_before(prefix, place.revision, context)
                if not before.kvs:
                    return before.header
                ahead = before.kvs[0].key
                await self._deleted(ahead, before.header.revision, context)
        except BaseException:
            leaving = asyncio.create_task(self._leave(place.key, context), name="leave-turns")
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            raise

    async def _leave(self, key: bytes, context: CallContext) -> None:
        with suppress(StoreError):  # then the lease's end does it
            await self._kv.delete_range(rpc_pb2.DeleteRangeRequest(key=key), context)

    async def last_before(self, prefix: bytes, revision: int, context: CallContext) -> Any:
        """The youngest key that is older than the creation at `revision`."""
        return await self._range(
            _Range(
                key=prefix,
                range_end=end_of(prefix),
                sort_order=_Range.DESCEND,
                sort_target=_Range.CREATE,
                limit=1,
                max_create_revision=revision - 1,
            ),
            context,
        )

    async def _range(self, request: _Range, context: CallContext) -> rpc_pb2.RangeResponse:
        return rpc_pb2.RangeResponse.FromString(await self._kv.range(request, context))

    async def first(self, prefix: bytes, context: CallContext) -> Any:
        """Whose turn it is."""
        return await self._range(
            _Range(
                key=prefix,
                range_end=end_of(prefix),
                sort_order=_Range.ASCEND,
                sort_target=_Range.CREATE,
                limit=1,
            ),
            context,
        )

    async def _deleted(self, key: bytes, revision: int, context: CallContext) -> None:
        wanted = _Create(key=key, start_revision=revision, filters=[_Create.NOPUT])
        async with aclosing(self.changes(wanted, context)) as changes:
            async for _ in changes:
                return

    async def changes(
        self, wanted: rpc_pb2.WatchCreateRequest, context: CallContext
    ) -> AsyncGenerator[tuple[Any, kv_pb2.Event], None]:
        """Events with the header that they came with, until the caller has enough."""

        async def requests() -> AsyncIterator[rpc_pb2.WatchRequest]:
            yield rpc_pb2.WatchRequest(create_request=wanted)
            await asyncio.get_running_loop().create_future()

        async with aclosing(self._watch.watch(requests(), context)) as responses:
            async for batch in responses:
                for response in map(rpc_pb2.WatchResponse.FromString, batch):
                    if response.compact_revision:
                        raise Compacted
                    if response.canceled:
                        raise StoreError(response.cancel_reason)
                    for event in response.events:
                        yield response.header, event


def created_at(key: bytes, revision: int) -> rpc_pb2.Compare:
    return rpc_pb2.Compare(
        key=key, target=rpc_pb2.Compare.CREATE, result=rpc_pb2.Compare.EQUAL,
        create_revision=revision,
    )  # fmt: skip


def put(key: bytes, value: bytes, lease: int) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value, lease=lease))


def end_of(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`, which ends with a slash."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


@contextmanager
def told_as_unknown() -> Iterator[None]:
    """etcd's lock and election services are clients of the store themselves, and pass on the
    text of what the store refused them, not the code."""
    try:
        yield
    except StoreError as error:
        raise RpcError(error.message, Code.UNKNOWN) from error
