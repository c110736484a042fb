"""What all services check and do alike."""

from __future__ import annotations

from google.protobuf.message import Message

from master.kvstore.errors import NotForLearner, RequestTooLarge
from master.kvstore.node import Node
from muster.rpc.service import CallContext

MAX_REQUEST_BYTES = 3 << 19  # 1.5 MiB, etcd's --max-request-bytes
# What a transport lets in: a little more, so that the answer is etcd's and not the transport's.
MAX_RECEIVE_BYTES = MAX_REQUEST_BYTES + (512 << 10)


def wants_leader(context: CallContext) -> bool:
    """Some clients would rather fail than wait for a leader (etcd: WithRequireLeader)."""
    return context.metadata.get("hasleader") == "true"


def check_call(node: Node, context: CallContext, *, learner_may: bool = False) -> None:
    """Learners answer only what is asked of this very member (etcd: isRPCSupportedForLearner)."""
    if node.is_learner and not learner_may:
        raise NotForLearner
    if wants_leader(context):
        node.require_leader()


def check_size(request: Message) -> None:
    if request.ByteSize() > MAX_REQUEST_BYTES:
        raise RequestTooLarge
