"""What all services check and do alike."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.message import Message

from kube.rpc.service import CallContext
from kube.stubs.etcd import command_pb2
from master.kvstore.auth.store import Caller
from master.kvstore.errors import InvalidAuthToken, NotForLearner, RequestTooLarge
from master.kvstore.node import Node

# A transport lets in a little more than a request may have, so that the answer is etcd's and not
# the transport's (etcd: grpcOverheadBytes).
RECEIVE_OVERHEAD_BYTES = 512 << 10


_NOBODY = Caller()


def wants_leader(context: CallContext) -> bool:
    """Some clients would rather fail than wait for a leader (etcd: WithRequireLeader)."""
    return context.metadata.get("hasleader") == "true"


def check_call(node: Node, context: CallContext, *, learner_may: bool = False) -> None:
    """Learners answer only what is asked of this very member (etcd: isRPCSupportedForLearner)."""
    if not learner_may and node.is_learner:
        raise NotForLearner
    if wants_leader(context):
        node.require_leader()


def check_size(node: Node, request: Message) -> None:
    if request.ByteSize() > node.limits.max_request_bytes:
        raise RequestTooLarge


def caller_of(node: Node, context: CallContext) -> Caller:
    """By token, else by the common name of a verified client certificate, else nobody."""
    auth = node.auth
    if not auth.enabled:
        return _NOBODY
    token = context.metadata.get("token") or context.metadata.get("authorization")
    if token:
        caller = node.tokens.caller_of(str(token), auth.revision)
        if caller is None:
            raise InvalidAuthToken
        return caller
    certificate = context.peer_certificate() if node.trusts_certificates else None
    return Caller(common_name(certificate) if certificate else "", auth.revision)


def signed(node: Node, context: CallContext, command: command_pb2.Command) -> command_pb2.Command:
    """Write into `command` who asks for it, for the check when it is applied."""
    caller = caller_of(node, context)
    command.user, command.auth_revision = caller.user, caller.revision
    return command


def signature(caller: Caller) -> bytes:
    """The same for a command that is encoded by hand: its fields `user` and `auth_revision`."""
    if not caller.user and not caller.revision:
        return b""
    command = command_pb2.Command(user=caller.user, auth_revision=caller.revision)
    return command.SerializeToString()


def require_admin(node: Node, context: CallContext) -> None:
    node.auth.check_admin(caller_of(node, context))


@lru_cache(maxsize=256)
def common_name(pem: bytes) -> str:
    # Here, for only stores with users and certificates need it, and it is large.
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names = x509.load_pem_x509_certificate(pem).subject
    found = names.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""
