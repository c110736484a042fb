"""Every etcdctl command against Debian's stock etcd and against ours, three members each, over
mTLS: the same output, the same errors, the same exit codes, the same revisions."""

from __future__ import annotations

import shutil

import pytest

from tests.component.kvstore_harness import StoreCluster, free_ports
from tests.component.pki_fixture import Pki
from tests.differential import commands
from tests.differential.pair import Pair

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")


def test_keys(pair: Pair) -> None:
    pair.run_all(commands.KEYS)


def test_sorted_ranges(pair: Pair) -> None:
    pair.run_all(commands.SORTED)


def test_deletes(pair: Pair) -> None:
    pair.run_all(commands.DELETES)


def test_compaction(pair: Pair) -> None:
    pair.run_all(commands.COMPACTIONS)


TXNS = [
    'value("c") = "1"\n\nput c 2\nget c\n\nget c\n\n',
    'value("c") = "1"\n\nput c 3\n\nget c\n\n',
    'mod("c") > "0"\nver("c") < "9"\ncreate("c") != "0"\n\ndel c\n\n\n',
    '\nput d 1\nput d 2\n\n\n',
    'mod("nothing") = "0"\n\nput nothing 1\n\n\n',
    'value("nothing") > "x"\n\n\nget --prefix n\n\n',
    'lease("c") = "0"\n\nget c\nget --prefix n --keys-only\n\n\n',
    'c("c") = "0"\nm("c") = "0"\nval("c") != "q"\n\nput c 1 --prev-kv\n\nput c 2 --prev-kv\n\n',
    "\nput e 1\ndel e\n\n\n", "\ndel e --prev-kv\n\n\n", "\n\n\n", "\nput '' 1\n\n\n",
    "\nput e 1 --lease=77\n\n\n", "\nput e --ignore-value\n\n\n", "\nget e --rev=999\n\n\n",
    "\nget e --rev=1\n\n\n", '\nput q "a b"\nget q\n\n\n', "\nget a z --limit=1\n\n\n",
    "nonsense\n", 'size("c") = "1"\n', 'mod("c") ~ "1"\n', 'mod("c") = "x"\n', "\nfly c\n",
    '\ndel --prefix n\nput m 1\nget --prefix ""\n\n\n', "\n" + "get a\n" * 129 + "\n\n",
    'version("m") = "1"\n\nget m --order=DESCEND --sort-by=KEY --limit=1\n\n\n',
]  # fmt: skip


def test_transactions(pair: Pair) -> None:
    for text in TXNS:
        for line in ("txn -i", "txn"):
            pair.run(line, stdin=text)
    for how in commands.FORMATS:
        pair.run(f"txn -w {how}", stdin='mod("m") > "0"\n\nget m\nput m 3 --prev-kv\ndel m\n\n\n')
    pair.run("put stdin", stdin="from stdin\n")
    pair.run("get stdin")
    pair.run("txn nonsense", stdin="")


def test_leases(pair: Pair) -> None:
    def grant(cluster: StoreCluster) -> None:
        out = cluster.etcdctl("lease", "grant", "300", member=cluster.members[1]).stdout
        cluster.extra_env["lease"] = out.split()[1]

    pair.each(grant)
    for line in commands.LEASES:
        if line.startswith("lease timetolive"):
            pair.each(
                lambda c: c.etcdctl(
                    "lease", "keep-alive", "--once", c.extra_env["lease"], check=False
                )
            )
        pair.run(line)


def test_connections(pair: Pair, pki: Pki) -> None:
    stranger = Pki.create(pki.directory / "stranger", "stranger").issue("stranger")
    for cluster in pair.both:
        cluster.extra_env |= {
            "dead": f"https://127.0.0.1:{free_ports(1)[0]}",
            "othercert": str(stranger.cert),
            "otherkey": str(stranger.key),
        }
    pair.run_all(commands.CONNECTIONS)


def test_members_and_maintenance(pair: Pair) -> None:
    for cluster in pair.both:
        for member in cluster.members:
            cluster.extra_env[f"{member.name}peer"] = member.peer_url
    pair.run_all(commands.MEMBERS)
    pair.run_all(commands.EVERY_MEMBER, member=None)


def test_auth(pair: Pair) -> None:
    pair.run_all(commands.AUTH)
    for cluster in pair.both:
        cluster.extra_env["user"] = commands.ROOT
    pair.run_all(commands.AFTER_AUTH)
