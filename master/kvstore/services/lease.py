"""etcdserverpb.Lease: granted and revoked through the log, renewed by the leader's clock."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from kube.rpc.service import CallContext
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore.auth import rules
from master.kvstore.errors import LeaseNotFound
from master.kvstore.node import Node
from master.kvstore.services.common import caller_of, check_call, signed


class LeaseService:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def lease_grant(self, request: rpc_pb2.LeaseGrantRequest, context: CallContext) -> Any:
        """An id of 0 asks for a free one; a short TTL becomes the shortest that is safe."""
        check_call(self._node, context)
        self._node.check_space(0)
        grant = rpc_pb2.LeaseGrantRequest(
            ID=request.ID or secrets.randbits(62) + 1, TTL=self._node.leases.least_ttl(request.TTL)
        )
        return await self._agree(command_pb2.Command(lease_grant=grant), context)

    async def lease_revoke(self, request: rpc_pb2.LeaseRevokeRequest, context: CallContext) -> Any:
        check_call(self._node, context)
        return await self._agree(command_pb2.Command(lease_revoke=request), context)

    async def lease_keep_alive(
        self, requests: AsyncIterator[rpc_pb2.LeaseKeepAliveRequest], context: CallContext
    ) -> AsyncIterator[rpc_pb2.LeaseKeepAliveResponse]:
        """Each request is answered; a TTL of 0 says that the lease is gone."""
        check_call(self._node, context)
        async for request in requests:
            response = rpc_pb2.LeaseKeepAliveResponse(ID=request.ID)
            # Before it is renewed: at the revision that is told the lease was certainly alive.
            self._node.fill(response.header)
            with suppress(LeaseNotFound):
                response.TTL = await self._node.leases.renew(request.ID)
            yield response

    async def lease_time_to_live(
        self, request: rpc_pb2.LeaseTimeToLiveRequest, context: CallContext
    ) -> rpc_pb2.LeaseTimeToLiveResponse:
        """A TTL of -1 says that there is no such lease: no error, as in etcd."""
        check_call(self._node, context)
        await self._node.read_barrier()
        found = await self._node.leases.state(request.ID)
        if request.keys:
            caller = caller_of(self._node, context)
            rules.check_keys_readable(self._node.auth, caller, found.keys)
        response = rpc_pb2.LeaseTimeToLiveResponse(
            ID=request.ID,
            TTL=found.remaining,
            grantedTTL=found.granted,
            keys=found.keys if request.keys else [],
        )
        self._node.fill(response.header)
        return response

    async def lease_leases(
        self, request: rpc_pb2.LeaseLeasesRequest, context: CallContext
    ) -> rpc_pb2.LeaseLeasesResponse:
        """The leader names first what ends first."""
        check_call(self._node, context)
        await self._node.read_barrier()
        response = rpc_pb2.LeaseLeasesResponse()
        leases = self._node.machine.lessor.leases
        for lease_id in sorted(leases, key=lambda one: (self._node.leases.seconds(one), one)):
            response.leases.add(ID=lease_id)
        self._node.fill(response.header)
        return response

    async def _agree(self, command: command_pb2.Command, context: CallContext) -> Any:
        applied = await self._node.propose(signed(self._node, context, command))
        self._node.fill(applied.response.header)
        return applied.response
