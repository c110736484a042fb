"""`muster kv`: look into the store, and move its leadership."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from muster import output
from muster.kv_snapshot import snapshot
from muster.store_access import access, client


@click.group()
def kv() -> None:
    """The store: members, leadership, snapshots, the log; reads in an outage."""


@kv.command()
@access
@output.option
def members(output: str, **where: str) -> None:
    """Who is in the cluster."""
    from muster.output import show

    with client(**where) as store:
        rows = [
            {
                "id": f"{member.ID:x}",
                "name": member.name or "(not started)",
                "peer_urls": list(member.peerURLs),
                "client_urls": list(member.clientURLs),
                "learner": member.isLearner,
            }
            for member in store.members()
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
@access
@output.option
def status(output: str, **where: str) -> None:
    """How each member sees itself. Exit code 1 when one does not answer."""
    from muster.output import show

    rows = []
    with client(**where) as store:
        for endpoint, answer, why in store.statuses():
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
@access
def transfer_leadership(to: str, **where: str) -> None:
    """Make MEMBER (a name or an id) the leader."""
    with client(**where) as store:
        for member in store.members():
            if to in (member.name, f"{member.ID:x}"):
                store.move_leader(member.ID)
                click.echo(f"{member.name} leads")
                return
    raise click.UsageError(f'no member has the name or id "{to}"')


@kv.command()
@click.argument("wanted", metavar="KEY")
@access
@click.option("--prefix", is_flag=True, help="All keys that begin with KEY.")
@click.option("--keys-only", is_flag=True, help="No values.")
@click.option("--stale", is_flag=True, help="As this member has it: works without a majority.")
def get(wanted: str, prefix: bool, keys_only: bool, stale: bool, **where: str) -> None:
    """Print what is stored under KEY."""
    from kube.stubs.etcd import rpc_pb2

    first = wanted.encode()
    request = rpc_pb2.RangeRequest(
        key=first or b"\0",
        range_end=_after(first) if prefix else b"",
        keys_only=keys_only,
        serializable=stale,
    )
    with client(**where) as store:
        for pair in store.range(request).kvs:
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


kv.add_command(snapshot)
