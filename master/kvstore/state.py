"""The state machine as bytes and back: the body of snapshots.

`capture` is quick and runs between two commands; `pieces` may then run in another thread, for
what it captured never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from master.kvstore.lease.lessor import Lease
from master.kvstore.machine import Machine
from master.kvstore.members import Members
from master.kvstore.mvcc.records import Record
from master.kvstore.mvcc.store import Mvcc
from muster.etcd import rpc_pb2

_RECORDS_PER_PIECE = 1000
_LENGTH_BYTES = 4


class _Head(msgspec.Struct, frozen=True, array_like=True):
    revision: int
    compacted: int
    leases: list[tuple[int, int]]
    alarms: list[tuple[int, int]]
    members: list[bytes]
    removed: list[int] = []


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
    machine.lessor.leases = {lease: Lease(lease, ttl) for lease, ttl in head.leases}
    for record in machine.mvcc.live():
        if record.lease in machine.lessor.leases:
            machine.lessor.leases[record.lease].keys.add(record.key)
    return machine


def _framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def _frames(body: memoryview) -> Iterator[memoryview]:
    offset = 0
    while offset < len(body):
        start = offset + _LENGTH_BYTES
        offset = start + int.from_bytes(body[offset:start], "big")
        yield body[start:offset]
