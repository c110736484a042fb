"""Asks the api-server what the callers of a component's own port may do.

Not by `Client`: the container runtime asks too, and has no use for the API's types.
"""

from __future__ import annotations

import json
from typing import Any

from kube.client.channel import NoServer, ServerList
from kube.component.access import ALLOWED_SECONDS, DENIED_SECONDS, Access, Unanswered
from kube.rpc.channel import ChannelOptions
from kube.rpc.errors import Code, RpcError
from kube.rpc.listen import Keepalive
from kube.stubs.resources import resources_pb2 as pb

_SERVICE = pb.DESCRIPTOR.services_by_name["Resources"]
_REVIEW = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
_TIMEOUT_SECONDS = 10.0
# Another api-server may know better.
_GONE = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
# For who asks nothing else of the api-servers: between two scrapes there is no connection, and so
# no pings either.
QUIET = ChannelOptions(
    max_receive_bytes=1 << 20,
    keepalive=Keepalive(1.0, 2.0),
    ping_when_idle=False,
    idle_seconds=5.0,
    connect_seconds=5.0,
    backoff_seconds=(0.05, 1.0),
)


class AccessReviews:
    """SubjectAccessReviews over the components' gRPC service."""

    def __init__(self, servers: ServerList) -> None:
        self._servers = servers

    async def __call__(self, spec: dict[str, Any]) -> bool:
        body = json.dumps(_REVIEW | {"spec": spec}).encode()
        ref = pb.Ref(group="authorization.k8s.io", version="v1", resource="subjectaccessreviews")
        try:
            server, channel = await self._servers.ready()
        except NoServer as error:
            raise Unanswered(str(error)) from error
        try:
            request = pb.CreateRequest(ref=ref, json=body)
            answer = await channel.stub(_SERVICE).Create(request, timeout=_TIMEOUT_SECONDS)
        except RpcError as error:
            if error.code in _GONE:
                self._servers.failed(server)
            raise Unanswered(error.message or error.code.name) from error
        return json.loads(answer.json).get("status", {}).get("allowed") is True


def delegated(
    servers: ServerList,
    allowed_seconds: float = ALLOWED_SECONDS,
    denied_seconds: float = DENIED_SECONDS,
) -> Access:
    return Access(AccessReviews(servers), allowed_seconds, denied_seconds)
