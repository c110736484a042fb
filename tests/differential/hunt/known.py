"""Differences that are meant to stay, each with its reason (docs/store.md tells of them)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.differential.hunt.steps import Call, Step


@dataclass(frozen=True)
class Known:
    reason: str
    applies: Callable[[Call, str, str], bool]


def _says(text: str) -> Callable[[Call, str, str], bool]:
    """Whatever etcd says, ours says this."""
    return lambda step, ours, theirs: text in ours


def _answers(ours: str, theirs: str) -> Callable[[Call, str, str], bool]:
    return lambda step, one, other: one.startswith(ours) and other.startswith(theirs)


# What gRPC itself says in Go.
_TRANSPORT = (
    "unknown method ",
    "unknown service ",
    "malformed method name",
    "grpc: received message larger than max",
    "grpc: Decompressor is not installed",
)
_UNTRANSLATED = {
    "INVALID_ARGUMENT: etcdserver: user name is empty": ("UNKNOWN: auth: user name is empty",),
    "PERMISSION_DENIED: etcdserver: permission denied": ("UNKNOWN: auth: permission denied",),
    "FAILED_PRECONDITION: etcdserver: user name not found": ("UNKNOWN: auth: user not found",),
    "UNAUTHENTICATED: etcdserver: invalid auth token": ("UNKNOWN: auth: invalid auth token",),
}
KNOWN: tuple[Known, ...] = (
    Known(
        "an unknown sort order is refused, as by later etcd; 3.4 does not sort then, and dies of "
        "an unknown sort target",
        _says("etcdserver: invalid sort option"),
    ),
    Known(
        "a call without a message is told so; etcd's says EOF",
        _answers("INTERNAL: a unary request has one message", "UNKNOWN: EOF"),
    ),
    Known(
        "etcd 3.4's maintenance service forgets to translate what its auth store says",
        lambda step, ours, theirs: (
            step.path.startswith("Maintenance/") and theirs in _UNTRANSLATED.get(ours, ())
        ),
    ),
    Known(
        "the keys of a lease are told to those only who may read them, as by etcd from 3.4.26 on",
        lambda step, ours, theirs: (
            step.path == "Lease/LeaseTimeToLive"
            and ours.startswith(("PERMISSION_DENIED", "INVALID_ARGUMENT", "UNAUTHENTICATED"))
            and theirs.startswith("header")
        ),
    ),
    Known(
        "etcd makes a member's id of its URLs and the second: so it misses another one first",
        _answers(
            "FAILED_PRECONDITION: etcdserver: Peer URLs already exists",
            "FAILED_PRECONDITION: etcdserver: member ID already exist",
        ),
    ),
    Known(
        "moving the leader wants the root role; etcd lets everybody",
        lambda step, ours, theirs: (
            step.path == "Maintenance/MoveLeader"
            and ours.startswith((*_UNTRANSLATED, "UNAUTHENTICATED"))
        ),
    ),
    Known(
        "etcd's followers go on asking the leader to promote a member that is not there",
        lambda step, ours, theirs: (
            step.path == "Cluster/MemberPromote"
            and theirs == "UNAVAILABLE: etcdserver: request timed out"
        ),
    ),
    Known(
        "a call with two messages is refused; etcd's does not look at the second",
        lambda step, ours, theirs: (
            len(step.bodies) == 2 and ours == "INTERNAL: a unary request has one message"
        ),
    ),
    Known(
        "a message that cannot be decoded: the same code, other words",
        _answers("INTERNAL: the request is no valid message", "INTERNAL: grpc:"),
    ),
    Known(
        "what no method or connection of ours takes: the same code, other words",
        lambda step, ours, theirs: (
            ours.split(":")[0] == theirs.split(":")[0]
            and any(words in theirs for words in _TRANSPORT)
        ),
    ),
    Known(
        "a known field of another type is an unknown one, as in most of protobuf; not so in Go",
        lambda step, ours, theirs: "proto: wrong wireType" in theirs,
    ),
    Known(
        "names are UTF-8, as protobuf says; etcd 3.4 takes any bytes",
        lambda step, ours, theirs: (
            ours.startswith("INTERNAL: the request is no valid message")
            and any(isinstance(body, bytes) and not body.isascii() for body in step.bodies)
        ),
    ),
)


def known(step: Step, ours: str, theirs: str) -> str | None:
    assert isinstance(step, Call)
    return next((one.reason for one in KNOWN if one.applies(step, ours, theirs)), None)
