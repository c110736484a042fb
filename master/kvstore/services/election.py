"""v3electionpb.Election: one leader per name, each with a value (etcd: api/v3election)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from kube.rpc.errors import Code, RpcError
from kube.rpc.service import CallContext
from kube.stubs.etcd import election_pb2, kv_pb2, rpc_pb2
from master.kvstore.services.turns import Place, Turns, created_at, end_of, put, told_as_unknown

_Create = rpc_pb2.WatchCreateRequest


class ElectionService:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    async def campaign(
        self, request: election_pb2.CampaignRequest, context: CallContext
    ) -> election_pb2.CampaignResponse:
        """Stand for election and wait to be elected."""
        prefix = request.name + b"/"
        with told_as_unknown():
            lease = await self._turns.lease(request.lease, context)
            place = await self._turns.join(prefix, lease, request.value, context)
            leader = _leader_key(request.name, place)
            if place.value != request.value:
                await self._proclaim(leader, request.value, context)
            await self._turns.wait(prefix, place, context)
        return election_pb2.CampaignResponse(header=place.header, leader=leader)

    async def proclaim(
        self, request: election_pb2.ProclaimRequest, context: CallContext
    ) -> election_pb2.ProclaimResponse:
        """The leader's new value, without another election."""
        _require_leader(request)
        with told_as_unknown():
            response = await self._proclaim(request.leader, request.value, context)
        return election_pb2.ProclaimResponse(header=response.header)

    async def resign(
        self, request: election_pb2.ResignRequest, context: CallContext
    ) -> election_pb2.ResignResponse:
        """Whoever is not the leader any more has nothing to give up: no error."""
        _require_leader(request)
        key = request.leader.key
        give_up = rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))
        with told_as_unknown():
            response = await self._if_leader(request.leader, give_up, context)
        return election_pb2.ResignResponse(header=response.header)

    async def leader(
        self, request: election_pb2.LeaderRequest, context: CallContext
    ) -> election_pb2.LeaderResponse:
        with told_as_unknown():
            found = await self._turns.first(request.name + b"/", context)
        if not found.kvs:
            raise RpcError("election: no leader", Code.UNKNOWN)
        return _elected(found.header, found.kvs[0])

    async def observe(
        self, request: election_pb2.LeaderRequest, context: CallContext
    ) -> AsyncIterator[election_pb2.LeaderResponse]:
        """The leader and its values as they come, in order; some may be skipped, the last never."""
        prefix = request.name + b"/"
        with told_as_unknown():
            while True:
                found = await self._turns.first(prefix, context)
                if found.kvs:
                    now = _elected(found.header, found.kvs[0])
                else:
                    now = await self._next_leader(prefix, found.header.revision, context)
                yield now
                async with aclosing(self._reign(now, context)) as values:
                    async for value in values:
                        yield value

    async def _next_leader(
        self, prefix: bytes, revision: int, context: CallContext
    ) -> election_pb2.LeaderResponse:
        wanted = _Create(
            key=prefix,
            range_end=end_of(prefix),
            start_revision=revision,
            filters=[_Create.NODELETE],
        )
        async with aclosing(self._turns.changes(wanted, context)) as changes:
            async for header, event in changes:
                header.revision = event.kv.mod_revision
                return _elected(header, event.kv)
        raise AssertionError("a watch ends by an error only")

    async def _reign(
        self, leader: election_pb2.LeaderResponse, context: CallContext
    ) -> AsyncGenerator[election_pb2.LeaderResponse, None]:
        """What this leader proclaims, until its key is gone."""
        wanted = _Create(key=leader.kv.key, start_revision=leader.header.revision + 1)
        async with aclosing(self._turns.changes(wanted, context)) as changes:
            async for header, event in changes:
                if event.type == kv_pb2.Event.DELETE:
                    return
                yield _elected(header, event.kv)

    async def _proclaim(
        self, leader: election_pb2.LeaderKey, value: bytes, context: CallContext
    ) -> Any:
        lease = await self._turns.lease(leader.lease, context)
        response = await self._if_leader(leader, put(leader.key, value, lease), context)
        if not response.succeeded:
            raise RpcError("election: not leader", Code.UNKNOWN)
        return response

    async def _if_leader(
        self, leader: election_pb2.LeaderKey, op: rpc_pb2.RequestOp, context: CallContext
    ) -> Any:
        compare = [created_at(leader.key, leader.rev)]
        return await self._turns.txn(rpc_pb2.TxnRequest(compare=compare, success=[op]), context)


def _leader_key(name: bytes, place: Place) -> election_pb2.LeaderKey:
    return election_pb2.LeaderKey(name=name, key=place.key, rev=place.revision, lease=place.lease)


def _elected(header: Any, kv: kv_pb2.KeyValue) -> election_pb2.LeaderResponse:
    return election_pb2.LeaderResponse(header=header, kv=kv)


def _require_leader(request: election_pb2.ProclaimRequest | election_pb2.ResignRequest) -> None:
    if not request.HasField("leader"):
        raise RpcError('"leader" field must be provided', Code.UNKNOWN)
