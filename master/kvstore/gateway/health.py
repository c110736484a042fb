"""etcd 3.4's /health: whether this member can serve (etcdhttp/metrics.go)."""

from __future__ import annotations

import asyncio

from kube.component.log import get_logger
from kube.http.messages import Request, Response, failure, text
from kube.stubs.etcd import rpc_pb2
from master.kvstore.errors import StoreError
from master.kvstore.node import Node

log = get_logger(__name__)
_READ_SECONDS = 1.0


class Health:
    """No alarm is raised, there is a leader, and a linearizable read works."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __call__(self, request: Request) -> Response:
        if request.method != "GET":
            return failure(405, None, ("Allow", "GET"))
        reason = await self._unwell(request)
        if reason:
            log.warning("not healthy", reason=reason)
            return failure(503, '{"health":"false"}')
        return text('{"health":"true"}')

    async def _unwell(self, request: Request) -> str:
        excluded = request.query.get("exclude", [])
        for _, alarm in self._node.machine.alarms:
            known = rpc_pb2.AlarmType.DESCRIPTOR.values_by_number.get(alarm)
            name = known.name if known else str(alarm)  # anybody may raise one that has no name
            if name not in excluded:
                return f"alarm {name}"
        if not self._node.has_leader:
            return "no leader"
        if request.asked("serializable") == "true":
            return ""
        try:
            async with asyncio.timeout(_READ_SECONDS):
                await self._node.read_barrier()
        except StoreError as error:
            return error.message
        except TimeoutError:
            return "a read takes too long"
        return ""
