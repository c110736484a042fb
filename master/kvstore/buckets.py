"""The small buckets of a database, named and encoded as etcd's: all but the keys.

etcd: server/mvcc/buckets (names), lease/leasepb, auth/store.go, etcdserver/api/membership/store.go,
mvcc/kvstore.go (meta). What etcd does not know, Raft's place of the snapshot, has a bucket of its
own, which etcd carries along and never reads.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgspec

from kube.component.version import ETCD_CLUSTER_VERSION
from kube.stubs.etcd import auth_pb2, lease_pb2, rpc_pb2
from master.kvstore.auth.store import AuthStore, User
from master.kvstore.bolt.reader import Database, Item
from master.kvstore.lease.lessor import Lease
from master.kvstore.machine import Machine
from master.kvstore.members import Members
from master.kvstore.raft.messages import SnapshotMeta

REVISION = struct.Struct(">QsQ")  # the revision, "_", the place among that revision's writes
NEVER = -1  # the compacted revision of a store that was never compacted
_NUMBER = struct.Struct(">Q")
_LEASE = struct.Struct(">q")  # a client may choose a negative id
_COMPACTED = b"finishedCompactRev"
Buckets = dict[bytes, list[Item]]


class _Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """etcd's membership.Member in JSON."""

    id: int
    peerURLs: list[str]
    isLearner: bool = False
    name: str = ""
    clientURLs: list[str] = []


def captured(machine: Machine, meta: SnapshotMeta) -> Buckets:
    """Everything but the keys and the leases as it is now."""
    return {
        b"alarm": sorted((_alarm(*alarm), b"") for alarm in machine.alarms),
        b"auth": _auth(machine.auth),
        b"authRoles": [(n.encode(), _role(n, p)) for n, p in sorted(machine.auth.roles.items())],
        b"authUsers": [(n.encode(), _user(n, u)) for n, u in sorted(machine.auth.users.items())],
        b"cluster": [(b"clusterVersion", ETCD_CLUSTER_VERSION.encode())],
        b"members": sorted((_hex(m.ID), _member(m)) for m in machine.members.listed()),
        b"members_removed": sorted((_hex(m), b"removed") for m in machine.members.removed),
        b"meta": _meta(meta, machine.mvcc.compacted),
        b"muster": [(b"raft", msgspec.msgpack.encode(meta))],
    }


def lease_items(leases: Iterable[Lease]) -> list[Item]:
    """There may be many: not on the event loop. What it reads of a lease never changes."""
    return sorted((_LEASE.pack(lease.id), _lease(lease)) for lease in leases)


def fill(machine: Machine, database: Database) -> None:
    """Give `machine` everything but the keys."""
    machine.alarms = {
        (alarm.memberID, int(alarm.alarm))
        for alarm in map(rpc_pb2.AlarmMember.FromString, _keys(database, b"alarm"))
    }
    leases = (lease_pb2.Lease.FromString(value) for _, value in database.items(b"lease"))
    machine.lessor.leases = {lease.ID: Lease(lease.ID, lease.TTL) for lease in leases}
    machine.members = Members(
        (_restored_member(value) for _, value in database.items(b"members")),
        (int(key, 16) for key in _keys(database, b"members_removed")),
    )
    machine.auth = _restored_auth(database)


def raft_meta(database: Database) -> SnapshotMeta | None:
    """Which part of the log it replaces; None in a file that etcd made."""
    kept = dict(database.items(b"muster")).get(b"raft")
    return None if kept is None else msgspec.msgpack.decode(kept, type=SnapshotMeta)


def compacted(database: Database) -> int:
    kept = dict(database.items(b"meta")).get(_COMPACTED)
    return NEVER if kept is None else int(REVISION.unpack_from(kept)[0])


def _keys(database: Database, bucket: bytes) -> Iterable[bytes]:
    return (key for key, _ in database.items(bucket))


def _hex(member_id: int) -> bytes:
    return b"%x" % member_id


def _alarm(member: int, kind: int) -> bytes:
    alarm = rpc_pb2.AlarmMember(memberID=member, alarm=rpc_pb2.AlarmType.ValueType(kind))
    return alarm.SerializeToString()


def _lease(lease: Lease) -> bytes:
    return lease_pb2.Lease(ID=lease.id, TTL=lease.ttl_seconds).SerializeToString()


def _meta(meta: SnapshotMeta, compacted: int) -> list[Item]:
    items = [(b"consistent_index", _NUMBER.pack(meta.index))]
    if compacted != NEVER:
        revision = REVISION.pack(compacted, b"_", 0)
        items += [(_COMPACTED, revision), (b"scheduledCompactRev", revision)]
    return items


def _member(member: rpc_pb2.Member) -> bytes:
    return msgspec.json.encode(
        _Member(
            member.ID,
            list(member.peerURLs),
            member.isLearner,
            member.name,
            list(member.clientURLs),
        )
    )


def _restored_member(kept: bytes) -> rpc_pb2.Member:
    member = msgspec.json.decode(kept, type=_Member)
    return rpc_pb2.Member(
        ID=member.id,
        name=member.name,
        peerURLs=member.peerURLs,
        clientURLs=member.clientURLs,
        isLearner=member.isLearner,
    )


def _auth(auth: AuthStore) -> list[Item]:
    return [
        (b"authEnabled", b"\1" if auth.enabled else b"\0"),
        (b"authRevision", _NUMBER.pack(auth.revision)),
    ]


def _user(name: str, user: User) -> bytes:
    kept = auth_pb2.User(name=name.encode(), password=user.password.encode(), roles=user.roles)
    kept.options.no_password = not user.password
    return kept.SerializeToString()


def _role(name: str, permissions: Iterable[auth_pb2.Permission]) -> bytes:
    return auth_pb2.Role(name=name.encode(), keyPermission=permissions).SerializeToString()


def _restored_auth(database: Database) -> AuthStore:
    auth = AuthStore()
    state = dict(database.items(b"auth"))
    auth.enabled = state.get(b"authEnabled") == b"\1"
    if b"authRevision" in state:
        (auth.revision,) = _NUMBER.unpack(state[b"authRevision"])
    for _, value in database.items(b"authUsers"):
        user = auth_pb2.User.FromString(value)
        auth.users[user.name.decode()] = User(user.password.decode(), list(user.roles))
    for _, value in database.items(b"authRoles"):
        role = auth_pb2.Role.FromString(value)
        auth.roles[role.name.decode()] = list(role.keyPermission)
    return auth
