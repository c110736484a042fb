"""etcdserverpb.Cluster: who is in it. Membership is fixed by `--initial-cluster`."""

from __future__ import annotations

from master.kvstore.node import Node
from master.kvstore.services.common import check_call
from muster.etcd import rpc_pb2
from muster.rpc.service import CallContext


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
        self._node.fill(response.header)
        response.header.revision = 0  # membership has no revision
        return response
