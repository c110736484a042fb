"""The state machine as a database file and back.

`capture` is quick and runs between two commands; planning and writing the file may then go on in
another thread, for what was captured never changes. `restore` may run in a thread, too: it works
page by page, and nothing in it keeps the interpreter for long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from kube.stubs.etcd import kv_pb2
from master.kvstore import buckets
from master.kvstore.bolt.reader import BadDatabase, Database, Item
from master.kvstore.bolt.writer import FilePlan
from master.kvstore.buckets import REVISION
from master.kvstore.lease.lessor import Lease
from master.kvstore.machine import Machine
from master.kvstore.mvcc.compaction import History
from master.kvstore.mvcc.records import Record, deleted
from master.kvstore.mvcc.store import Mvcc
from master.kvstore.raft.messages import SnapshotMeta
from master.kvstore.wal.snapshot import SnapshotCorrupt, opened

_KEYS, _LEASES = b"key", b"lease"
_TOMBSTONE = b"t"  # behind the revision
_RECORDS_PER_BATCH = 256
# What a file with a right hash and a wrong content may lead to.
_UNREADABLE = (
    BadDatabase,
    DecodeError,
    msgspec.MsgspecError,
    struct.error,
    ValueError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Capture:
    """The key-values' history, the leases, and all other buckets."""

    meta: SnapshotMeta
    history: History
    leases: list[Lease]
    small: buckets.Buckets


def capture(machine: Machine, meta: SnapshotMeta) -> Capture:
    leases = list(machine.lessor.leases.values())
    return Capture(meta, machine.mvcc.history(), leases, buckets.captured(machine, meta))


def plan(captured: Capture) -> FilePlan:
    """The file's layout; the file itself is its `pages()`."""
    small = {name: lambda items=items: (items,) for name, items in captured.small.items()}
    leases = buckets.lease_items(captured.leases)
    records, count = captured.history.surviving()
    keys = partial(_key_items, records, count)
    return FilePlan({**small, _LEASES: lambda: (leases,), _KEYS: keys})


def _key_items(records: list[Record], count: int) -> Iterator[list[Item]]:
    for start in range(0, count, _RECORDS_PER_BATCH):
        end = min(start + _RECORDS_PER_BATCH, count)
        yield [(_revision(record), record.encoded) for record in records[start:end]]


def _revision(record: Record) -> bytes:
    revision = REVISION.pack(record.mod, b"_", record.sub)
    return revision + _TOMBSTONE if record.tombstone else revision


def load(path: Path, *, check: bool = True) -> tuple[SnapshotMeta | None, Machine]:
    """A snapshot file, checked. SnapshotCorrupt when anything is wrong with it."""
    try:
        with opened(path, check=check) as database:
            return restore(database)
    except _UNREADABLE as error:
        raise SnapshotCorrupt(f'"{path}": {error}') from error


def restore(database: Database) -> tuple[SnapshotMeta | None, Machine]:
    """The state, and which part of the log it replaces unless etcd wrote it."""
    if _KEYS not in database:
        raise BadDatabase("no database of etcd's or ours: there is no bucket of keys")
    machine = Machine()
    buckets.fill(machine, database)
    compacted = buckets.compacted(database)
    machine.mvcc = Mvcc.restore(compacted, map(_records, database.leaves(_KEYS)))
    leases = machine.lessor.leases
    if leases:
        for record in machine.mvcc.live():
            if record.lease in leases:
                leases[record.lease].keys.add(record.key)
    return buckets.raft_meta(database), machine


def _records(leaf: list[Item]) -> list[Record]:
    parse, revision = kv_pb2.KeyValue.FromString, REVISION.unpack_from
    records = []
    for name, encoded in leaf:
        if not encoded:  # etcdutl's mark of a bumped revision: no key, and compacted there
            continue
        mod, _, sub = revision(name)  # in order, for the names are
        pair = parse(encoded)
        if len(name) > REVISION.size:
            records.append(deleted(pair.key, mod, sub))
            continue
        if pair.mod_revision != mod:
            raise BadDatabase(f"revision {mod} holds a key of revision {pair.mod_revision}")
        version = pair.version
        create = mod if version == 1 else pair.create_revision  # one number object, not two
        records.append(Record(pair.key, mod, sub, create, version, pair.lease, encoded))
    return records
