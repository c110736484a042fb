"""A new cluster from a snapshot file, ours or etcd's: the way back when no majority is left.

Every member of the new cluster restores from the same file, each into an empty data directory,
with the same --initial-cluster; then they are started as usual. Blocking calls, no process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from master.kvstore import state
from master.kvstore.cluster import ClusterFlagsError, bootstrap_identity, members_of
from master.kvstore.raft.messages import HardState, SnapshotMeta
from master.kvstore.wal.log import Identity, Wal
from master.kvstore.wal.snapshot import SnapshotDirectory

_FIRST = 1  # index and term at which the new cluster's log goes on


@dataclass(frozen=True, slots=True)
class Summary:
    """What a snapshot file holds."""

    index: int
    term: int
    revision: int
    compacted: int
    keys: int
    leases: int
    members: int
    bytes: int
    hash: int


def verify(path: Path) -> Summary:
    """Read everything in the file. SnapshotCorrupt when anything is wrong with it."""
    meta, machine = state.load(path)
    meta = meta or SnapshotMeta()  # etcd's files do not say where in the log they belong
    store = machine.mvcc
    return Summary(
        meta.index,
        meta.term,
        store.revision,
        store.compacted,
        store.keys(),
        len(machine.lessor.leases),
        len(machine.members.all),
        path.stat().st_size,
        store.hash(store.revision),
    )


def restore(
    path: Path,
    data_dir: Path,
    name: str,
    members: Mapping[str, tuple[str, ...]],
    token: str,
    *,
    check: bool = True,
) -> Identity:
    """Make `data_dir` the beginning of member `name` of a new cluster. Its identity."""
    if data_dir.exists() and any(data_dir.iterdir()):
        raise ClusterFlagsError(f'data-dir "{data_dir}" is not empty')
    identity = bootstrap_identity(name, members, token)
    _, machine = state.load(path, check=check)
    machine.members = members_of(identity)
    machine.alarms.clear()
    meta = SnapshotMeta(_FIRST, _FIRST, identity.membership())
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    pages = state.plan(state.capture(machine, meta)).pages()
    SnapshotDirectory(data_dir / "member" / "snap").save(meta, pages)
    wal = Wal.create(data_dir / "member" / "wal", identity)
    wal.append(HardState(_FIRST, commit=_FIRST), (), meta)
    wal.close()
    return identity
