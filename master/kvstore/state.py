"""The state machine as bytes and back: the body of snapshots.

`capture` is quick and runs between two commands; `pieces` may then run in another thread, for
what it captured never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from master.kvstore.auth.store import AuthStore, User
from master.kvstore.lease.lessor import Lease
from master.kvstore.machine import Machine
from master.kvstore.members import Members
from master.kvstore.mvcc.records import Record
from master.kvstore.mvcc.store import Mvcc
from muster.etcd import auth_pb2, rpc_pb2

_RECORDS_PER_PIECE = 1000
_LENGTH_BYTES = 4


class _Auth(msgspec.Struct, frozen=True, array_like=True):
    enabled: bool
    revision: int
    users: list[tuple[str, str, list[str]]]
    roles: list[tuple[str, list[tuple[int, bytes, bytes]]]]


class _Head(msgspec.Struct, frozen=True, array_like=True):
    revision: int
    compacted: int
    leases: list[tuple[int, int]]
    alarms: list[tuple[int, int]]
    members: list[bytes]
    removed: list[int] = []
    auth: _Auth | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    head: bytes
    records: list[Record]


def capture(machine: Machine) -> Capture:
    head = _Head(
        machine.mvcc.revision,
        machine.mvcc.compacted,
        sorted((lease.id, lease.ttl_seconds) for lease in machine.lessor.leases.values()),
        sorted(machine.alarms),
        [member.SerializeToString() for member in machine.members.listed()],
        sorted(machine.members.removed),
        _captured_auth(machine.auth),
    )
    return Capture(msgspec.msgpack.encode(head), machine.mvcc.records())


def pieces(captured: Capture) -> Iterator[bytes]:
    yield _framed(captured.head)
    records = captured.records
    for start in range(0, len(records), _RECORDS_PER_PIECE):
        yield _framed(msgspec.msgpack.encode(records[start : start + _RECORDS_PER_PIECE]))


def restore(body: memoryview) -> Machine:
    frames = _frames(body)
    head = msgspec.msgpack.decode(next(frames), type=_Head)
    records: list[Record] = []
    decoder = msgspec.msgpack.Decoder(list[Record])
    for frame in frames:
        records += decoder.decode(frame)
    machine = Machine()
    machine.mvcc = Mvcc.restore(head.revision, head.compacted, records)
    machine.alarms = set(head.alarms)
    machine.members = Members(map(rpc_pb2.Member.FromString, head.members), head.removed)
    if head.auth is not None:
        machine.auth = _restored_auth(head.auth)
    machine.lessor.leases = {lease: Lease(lease, ttl) for lease, ttl in head.leases}
    for record in machine.mvcc.live():
        if record.lease in machine.lessor.leases:
            machine.lessor.leases[record.lease].keys.add(record.key)
    return machine


def _captured_auth(auth: AuthStore) -> _Auth:
    return _Auth(
        auth.enabled,
        auth.revision,
        [(name, user.password, list(user.roles)) for name, user in sorted(auth.users.items())],
        [
            (name, [(p.permType, p.key, p.range_end) for p in given])
            for name, given in sorted(auth.roles.items())
        ],
    )


def _restored_auth(kept: _Auth) -> AuthStore:
    auth = AuthStore()
    auth.enabled, auth.revision = kept.enabled, kept.revision
    auth.users = {name: User(password, roles) for name, password, roles in kept.users}
    auth.roles = {
        name: [
            auth_pb2.Permission(
                permType=auth_pb2.Permission.Type.ValueType(kind), key=key, range_end=end
            )
            for kind, key, end in given
        ]
        for name, given in kept.roles
    }
    return auth


def _framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def _frames(body: memoryview) -> Iterator[memoryview]:
    offset = 0
    while offset < len(body):
        start = offset + _LENGTH_BYTES
        offset = start + int.from_bytes(body[offset:start], "big")
        yield body[start:offset]
