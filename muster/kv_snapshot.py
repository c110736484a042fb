"""`muster kv snapshot`: the whole store in one file, and back from it."""

from __future__ import annotations

import dataclasses
import time
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muster import options, output
from muster.session import reporting, run
from muster.store_access import access, client

if TYPE_CHECKING:
    from master.kvstore.wal.log import Identity

_FILE = click.Path(path_type=Path, dir_okay=False)
# etcd's advice for Kubernetes: more than a cluster can have written since the snapshot was taken.
LAB_BUMP = 1_000_000_000


@click.group()
def snapshot() -> None:
    """The whole store in one file."""


@snapshot.command()
@click.argument("file", type=_FILE)
@access
def save(file: Path, **where: str) -> None:
    """Write the first member's state to FILE, and check what was written."""
    with client(**where) as store:
        store.save_snapshot(file)
    _print_summary(file)


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def verify(file: Path) -> None:
    """Read all of FILE. Exit code 1 when a single bit of it is not as it was written."""
    _print_summary(file)


@snapshot.command("status")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@output.option
def snapshot_status(file: Path, output: str) -> None:
    """What is in FILE, which may also be one of etcd's. Reads and checks all of it.

    Hash, revision, totals: as of `etcdctl snapshot status`.
    """
    from muster.output import show

    row = {"name": file.name, **_summary(file)}
    own = ("compacted", "keys", "leases", "members", "bytes", "index", "term")
    show(
        output,
        [row],
        [row],
        (
            ("HASH", lambda r: f"{r['hash']:x}"),
            ("REVISION", itemgetter("revision")),
            ("TOTAL KEYS", itemgetter("totalKey")),
            ("TOTAL SIZE", itemgetter("totalSize")),
            *((name.upper(), itemgetter(name)) for name in own),
        ),
    )


def _print_summary(file: Path) -> None:
    for field, value in _summary(file).items():
        click.echo(f"{field}: {value:x}" if field == "hash" else f"{field}: {value}")


def _summary(file: Path) -> dict[str, int]:
    """Named as in etcdctl's JSON where it has the same."""
    from master.kvstore.restore import verify as read_all
    from master.kvstore.wal.snapshot import SnapshotCorrupt

    named = {"total_keys": "totalKey", "total_size": "totalSize"}
    try:
        found = dataclasses.asdict(read_all(file))
    except SnapshotCorrupt as error:
        raise click.ClickException(str(error)) from error
    return {named.get(name, name): value for name, value in found.items()}


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--name", metavar="NAME", help="Which lab; with --data-dir: which member.")
@click.option(
    "--bump-revision",
    type=click.IntRange(min=0, max=1 << 62),
    metavar="N",
    help=f"How far to go ahead of FILE's revision (default: {LAB_BUMP} in a lab, else 0).",
)
@click.option(
    "--mark-compacted",
    is_flag=True,
    help="Nothing before the new revision can be read (needed with --bump-revision).",
)
@click.option("--skip-hash-check", is_flag=True, help="For etcd's member/snap/db, copied.")
@options.timeout
@click.option("--data-dir", type=click.Path(path_type=Path), help="To be made, for one member.")
@click.option("--initial-cluster", metavar="NAME=URL,...", help="All members (--data-dir).")
@click.option("--initial-cluster-token", metavar="TOKEN", help="With --data-dir.")
def restore(
    file: Path,
    name: str | None,
    bump_revision: int | None,
    mark_compacted: bool,
    skip_hash_check: bool,
    timeout: float,
    data_dir: Path | None,
    initial_cluster: str | None,
    initial_cluster_token: str | None,
) -> None:
    """Begin a new cluster from FILE, ours or etcd's.

    A lab takes it on all its masters: they stop, get the data, and start. What they had is kept on
    each machine until the next restore. Its revision leaps ahead, so that nobody takes the past for
    news; --bump-revision 0 leaves it as it is in FILE.

    With --data-dir one member's data directory is made instead. Do it for every member with the
    same FILE and --initial-cluster, then start them.
    """
    if data_dir is None:
        if initial_cluster or initial_cluster_token:
            raise click.UsageError("--initial-cluster and its token go with --data-dir")
        bump = LAB_BUMP if bump_revision is None else bump_revision
        _restore_lab(
            file, options.checked_name(name or "default"), bump, not skip_hash_check, timeout
        )
        return
    if initial_cluster is None:
        raise click.UsageError("--data-dir needs --initial-cluster")
    if bool(bump_revision) != mark_compacted:
        raise click.UsageError("--bump-revision and --mark-compacted need each other")
    identity = _make(
        file,
        data_dir,
        name or "default",
        initial_cluster,
        initial_cluster_token or "etcd-cluster",
        bump_revision or 0,
        not skip_hash_check,
    )
    click.echo(f"member {identity.member_id:x} of cluster {identity.cluster_id:x}: {data_dir}")


def _restore_lab(file: Path, name: str, bump: int, check: bool, timeout: float) -> None:
    from provision.payload.masters import initial_cluster
    from provision.phases.restore import BEFORE
    from provision.phases.restore import restore as restore_lab
    from provision.phases.session import open_session
    from provision.state import Store

    session = open_session(Store(), name)
    cluster = initial_cluster(session.record)
    # A cluster of its own: a member that missed this must not be taken for one of it.
    token = f"muster-{name}-{time.time_ns():x}"

    def make(member: str, data_dir: Path) -> None:
        _make(file, data_dir, member, cluster, token, bump, check)

    if check:
        _summary(file)  # a damaged file is refused before anything is touched
    with reporting() as reporter:
        run(restore_lab(session, make, reporter, timeout))
    click.echo(f'lab "{name}" goes on from {file.name}; what it had is in {BEFORE} on each master')


def _make(
    file: Path,
    data_dir: Path,
    member: str,
    initial_cluster: str,
    token: str,
    bump: int,
    check: bool,
) -> Identity:
    from master.kvstore.cluster import ClusterFlagsError, parse_initial_cluster
    from master.kvstore.restore import restore as make
    from master.kvstore.wal.snapshot import SnapshotCorrupt

    try:
        cluster = parse_initial_cluster(initial_cluster)
        return make(file, data_dir, member, cluster, token, check=check, bump_revision=bump)
    except ClusterFlagsError as error:
        raise click.UsageError(str(error)) from error
    except SnapshotCorrupt as error:
        raise click.ClickException(str(error)) from error
