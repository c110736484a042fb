"""etcdserverpb.Cluster: who is in it, and changes of that, with etcd's checks (strict mode)."""

from __future__ import annotations

import secrets
from typing import Any

from kube.rpc.service import CallContext
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore import members as rules
from master.kvstore.node import Node
from master.kvstore.services.common import check_call, require_admin


class ClusterService:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def member_list(
        self, request: rpc_pb2.MemberListRequest, context: CallContext
    ) -> rpc_pb2.MemberListResponse:
        check_call(self._node, context)
        if request.linearizable:
            await self._node.read_barrier()
        response = rpc_pb2.MemberListResponse(members=self._node.members)
        self._fill(response)
        return response

    async def member_add(self, request: rpc_pb2.MemberAddRequest, context: CallContext) -> Any:
        """The new member has no name before it starts and publishes one."""
        check_call(self._node, context)
        urls = rules.checked_urls(request.peerURLs)
        require_admin(self._node, context)
        if not request.isLearner:
            rules.check_add_voter(self._node.machine.members, self._node.contacts.connected())
        member = rpc_pb2.Member(
            ID=secrets.randbits(62) + 1,
            peerURLs=sorted(urls),
            isLearner=request.isLearner,
        )
        return await self._agree(command_pb2.Command(member_add=member))

    async def member_remove(
        self, request: rpc_pb2.MemberRemoveRequest, context: CallContext
    ) -> Any:
        self._check_call(context)
        rules.check_remove(self._node.machine.members, request.ID, self._node.contacts.connected())
        return await self._agree(command_pb2.Command(member_remove=request))

    async def member_update(
        self, request: rpc_pb2.MemberUpdateRequest, context: CallContext
    ) -> Any:
        self._check_call(context)
        self._node.machine.members.get(request.ID)  # whom etcd misses first
        rules.check_urls(request.peerURLs)
        return await self._agree(command_pb2.Command(member_update=request))

    async def member_promote(
        self, request: rpc_pb2.MemberPromoteRequest, context: CallContext
    ) -> Any:
        self._check_call(context)
        await self._node.requests.promote_ready(request.ID)
        return await self._agree(command_pb2.Command(member_promote=request))

    def _check_call(self, context: CallContext) -> None:
        check_call(self._node, context)
        require_admin(self._node, context)

    async def _agree(self, command: command_pb2.Command) -> Any:
        applied = await self._node.propose(command)
        self._fill(applied.response)
        return applied.response

    def _fill(self, response: Any) -> None:
        self._node.fill(response.header)
        response.header.revision = 0  # membership has no revision
