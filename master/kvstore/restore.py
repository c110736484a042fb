"""A new cluster from a snapshot file, ours or etcd's: the way back when no majority is left.

Every member of the new cluster restores from the same file, each into an empty data directory,
with the same --initial-cluster; then they are started as usual. Blocking calls, no process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from google_crc32c import extend

from master.kvstore import state
from master.kvstore.bolt.reader import BadDatabase, Database
from master.kvstore.cluster import ClusterFlagsError, bootstrap_identity, members_of
from master.kvstore.raft.messages import HardState, SnapshotMeta
from master.kvstore.wal.log import Identity, Wal
from master.kvstore.wal.snapshot import SnapshotCorrupt, SnapshotDirectory, opened

_FIRST = 1  # index and term at which the new cluster's log goes on


@dataclass(frozen=True, slots=True)
class Summary:
    """What a snapshot file holds. The first four are `etcdctl snapshot status`'s."""

    hash: int  # CRC-32C of all buckets' names, keys and values
    revision: int
    total_keys: int  # of all buckets
    total_size: int  # of the database, without what is behind it
    compacted: int
    keys: int
    leases: int
    members: int
    bytes: int
    index: int
    term: int
    hash_kv: int  # the members' checksum of the keys at this revision


def verify(path: Path) -> Summary:
    """Read everything in the file. SnapshotCorrupt when anything is wrong with it."""
    meta, machine = state.load(path)
    meta = meta or SnapshotMeta()  # etcd's files do not say where in the log they belong
    store = machine.mvcc
    try:
        with opened(path, check=False) as database:
            checksum, total = _hash(database)
            used = database.used_bytes
    except BadDatabase as error:  # in a bucket that is of no matter to us
        raise SnapshotCorrupt(f'"{path}": {error}') from error
    return Summary(
        hash=checksum,
        revision=store.revision,
        total_keys=total,
        total_size=used,
        compacted=store.compacted,
        keys=store.keys(),
        leases=len(machine.lessor.leases),
        members=len(machine.members.all),
        bytes=path.stat().st_size,
        index=meta.index,
        term=meta.term,
        hash_kv=store.hash(store.revision),
    )


def _hash(database: Database) -> tuple[int, int]:
    """etcdctl's hash of a database, and how many keys that are."""
    total = checksum = 0
    for name in database:
        checksum = extend(checksum, name)
        for leaf in database.leaves(name):
            total += len(leaf)
            checksum = extend(checksum, b"".join(chain.from_iterable(leaf)))
    return checksum, total


def restore(
    path: Path,
    data_dir: Path,
    name: str,
    members: Mapping[str, tuple[str, ...]],
    token: str,
    *,
    check: bool = True,
    bump_revision: int = 0,
) -> Identity:
    """Make `data_dir` the beginning of member `name` of a new cluster. Its identity.

    With `bump_revision` the revision goes that far ahead of the file's and is marked compacted
    (etcdutl's --bump-revision and --mark-compacted). Clients that keep a copy by revision, as
    api-servers and controllers do, would otherwise take the past for the future.
    """
    if data_dir.exists() and any(data_dir.iterdir()):
        raise ClusterFlagsError(f'data-dir "{data_dir}" is not empty')
    identity = bootstrap_identity(name, members, token)
    _, machine = state.load(path, check=check)
    machine.members = members_of(identity)
    machine.alarms.clear()
    if bump_revision:
        machine.mvcc.leap(bump_revision)
    meta = SnapshotMeta(_FIRST, _FIRST, identity.membership())
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    pages = state.plan(state.capture(machine, meta)).pages()
    SnapshotDirectory(data_dir / "member" / "snap").save(meta, pages)
    wal = Wal.create(data_dir / "member" / "wal", identity)
    wal.append(HardState(_FIRST, commit=_FIRST), (), meta)
    wal.close()
    return identity
