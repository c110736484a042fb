"""`muster kv`: look into the store and bring it back from a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muster import options, output

if TYPE_CHECKING:
    from kube.component.tls import TlsFiles
    from master.kvstore.client import Login, StoreClient

_FILE = click.Path(path_type=Path, dir_okay=False)


def _access(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which store: a lab's, or any by its endpoints and a client certificate."""
    for flag, text in (
        ("--password", "The user's, if --user does not say it."),
        ("--user", "NAME or NAME:PASSWORD, where the store asks who you are."),
        ("--key", "The client's key."),
        ("--cert", "The client's certificate."),
        ("--cacert", "The CA that the members' certificates are of."),
        ("--endpoints", "host:port,... instead of a lab's masters."),
    ):
        function = click.option(flag, default="", metavar=flag[2:].upper(), help=text)(function)
    return options.name(function)


@contextmanager
def _client(
    name: str, endpoints: str, cacert: str, cert: str, key: str, user: str, password: str
) -> Iterator[StoreClient]:
    import grpc

    from master.kvstore.client import StoreClient

    login = _login(user, password)

    if endpoints:
        addresses = [part.removeprefix("https://") for part in endpoints.split(",") if part]
        tls = _tls(cacert, cert, key)
    else:
        addresses, tls = _of_lab(name)
    client = StoreClient(addresses, tls, login)
    try:
        yield client
    except grpc.RpcError as error:
        raise click.ClickException(error.details() or error.code().name) from error
    finally:
        client.close()


def _login(user: str, password: str) -> Login | None:
    """As etcdctl takes them: the password is asked for when nothing says it."""
    from master.kvstore.client import Login

    name, colon, after = user.partition(":")
    if password and (colon or not name):
        raise click.UsageError("--password goes with --user NAME, without a password in it")
    if not name:
        return None
    if not colon and not password:
        password = click.prompt("Password", hide_input=True, err=True)
    return Login(name, after if colon else password)


def _tls(cacert: str, cert: str, key: str) -> TlsFiles | None:
    from kube.component.tls import TlsFiles

    if not (cacert or cert or key):
        return None
    for flag, value in (("--cacert", cacert), ("--cert", cert), ("--key", key)):
        if not Path(value).is_file():
            raise click.UsageError(f'{flag}: "{value}" is no file')
    return TlsFiles(Path(cert), Path(key), Path(cacert))


def _of_lab(name: str) -> tuple[list[str], TlsFiles]:
    from kube.component.tls import TlsFiles
    from provision.state import Store

    store = Store()
    record = store.get(name)
    pki = store.directory(name).pki / "etcd"
    addresses = [f"{machine.address}:2379" for machine in record.masters]
    tls = TlsFiles(pki / "healthcheck-client.crt", pki / "healthcheck-client.key", pki / "ca.crt")
    return addresses, tls


@click.group()
def kv() -> None:
    """The store: members, leadership, snapshots, the log; reads in an outage."""


@kv.command()
@_access
@output.option
def members(output: str, **access: str) -> None:
    """Who is in the cluster."""
    from muster.output import show

    with _client(**access) as client:
        rows = [
            {
                "id": f"{member.ID:x}",
                "name": member.name or "(not started)",
                "peer_urls": list(member.peerURLs),
                "client_urls": list(member.clientURLs),
                "learner": member.isLearner,
            }
            for member in client.members()
        ]
    show(
        output,
        rows,
        rows,
        (
            ("ID", lambda r: r["id"]),
            ("NAME", lambda r: r["name"]),
            ("PEER", lambda r: ",".join(r["peer_urls"])),
            ("CLIENT", lambda r: ",".join(r["client_urls"])),
            ("VOTES", lambda r: "no" if r["learner"] else "yes"),
        ),
    )


@kv.command()
@_access
@output.option
def status(output: str, **access: str) -> None:
    """How each member sees itself. Exit code 1 when one does not answer."""
    from muster.output import show

    rows = []
    with _client(**access) as client:
        for endpoint, answer, why in client.statuses():
            row: dict[str, Any] = {"name": endpoint, "error": why}
            if answer is not None:
                role = "learner" if answer.isLearner else "follower"
                led = answer.leader == answer.header.member_id
                row |= {
                    "id": f"{answer.header.member_id:x}",
                    "role": "leader" if led else role,
                    "term": answer.raftTerm,
                    "index": answer.raftIndex,
                    "applied": answer.raftAppliedIndex,
                    "revision": answer.header.revision,
                    "bytes": answer.dbSize,
                    "error": "; ".join(answer.errors),
                }
            rows.append(row)
    columns = ("id", "role", "term", "index", "applied", "revision", "bytes", "error")
    show(
        output,
        rows,
        rows,
        (
            ("ENDPOINT", lambda r: r["name"]),
            *((c.upper(), lambda r, c=c: r.get(c, "-") or "-") for c in columns),
        ),
    )
    if any("id" not in row for row in rows):
        click.get_current_context().exit(1)


@kv.command("transfer-leadership")
@click.argument("to", metavar="MEMBER")
@_access
def transfer_leadership(to: str, **access: str) -> None:
    """Make MEMBER (a name or an id) the leader."""
    with _client(**access) as client:
        for member in client.members():
            if to in (member.name, f"{member.ID:x}"):
                client.move_leader(member.ID)
                click.echo(f"{member.name} leads")
                return
    raise click.UsageError(f'no member has the name or id "{to}"')


@kv.command()
@click.argument("wanted", metavar="KEY")
@_access
@click.option("--prefix", is_flag=True, help="All keys that begin with KEY.")
@click.option("--keys-only", is_flag=True, help="No values.")
@click.option("--stale", is_flag=True, help="As this member has it: works without a majority.")
def get(wanted: str, prefix: bool, keys_only: bool, stale: bool, **access: str) -> None:
    """Print what is stored under KEY."""
    from kube.stubs.etcd import rpc_pb2

    first = wanted.encode()
    request = rpc_pb2.RangeRequest(
        key=first or b"\0",
        range_end=_after(first) if prefix else b"",
        keys_only=keys_only,
        serializable=stale,
    )
    with _client(**access) as client:
        for pair in client.range(request).kvs:
            click.echo(pair.key)
            if not keys_only:
                click.echo(pair.value)


def _after(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix`."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else b"\0"


@kv.command()
@click.argument("data_dir", metavar="DATA_DIR", type=click.Path(path_type=Path, exists=True))
def log(data_dir: Path) -> None:
    """Print a member's write-ahead log. Reads only: the member may be running."""
    from master.kvstore.waldump import lines

    for line in lines(data_dir):
        click.echo(line)


@kv.group()
def snapshot() -> None:
    """The whole store in one file."""


@snapshot.command()
@click.argument("file", type=_FILE)
@_access
def save(file: Path, **access: str) -> None:
    """Write the first member's state to FILE, and check what was written."""
    with _client(**access) as client:
        client.save_snapshot(file)
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
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, help="To be made.")
@click.option("--name", "member", default="default", show_default=True, help="This member.")
@click.option("--initial-cluster", required=True, metavar="NAME=URL,...", help="All members.")
@click.option("--initial-cluster-token", default="etcd-cluster", show_default=True)
@click.option("--skip-hash-check", is_flag=True, help="For etcd's member/snap/db, copied.")
def restore(
    file: Path,
    data_dir: Path,
    member: str,
    initial_cluster: str,
    initial_cluster_token: str,
    skip_hash_check: bool,
) -> None:
    """Make a member's data directory from FILE, ours or etcd's: the beginning of a new cluster.

    Do it for every member with the same FILE and --initial-cluster, then start them.
    """
    from master.kvstore.cluster import ClusterFlagsError, parse_initial_cluster
    from master.kvstore.restore import restore as make
    from master.kvstore.wal.snapshot import SnapshotCorrupt

    try:
        cluster = parse_initial_cluster(initial_cluster)
        identity = make(
            file, data_dir, member, cluster, initial_cluster_token, check=not skip_hash_check
        )
    except ClusterFlagsError as error:
        raise click.UsageError(str(error)) from error
    except SnapshotCorrupt as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"member {identity.member_id:x} of cluster {identity.cluster_id:x}: {data_dir}")
