"""A member whose data differ is found when it starts, or by the leader; then it is replaced."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec

from master.kvstore import state
from master.kvstore.wal.snapshot import SnapshotDirectory
from tests.component.kvstore_harness import StoreCluster, StoreProcess, store_cluster, wait_until
from tests.component.pki_fixture import Pki

CHECK_FIRST = "--experimental-initial-corrupt-check"
FLAGS = ("--snapshot-count", "20", "--experimental-corrupt-check-time", "1s")


def lie(member: StoreProcess) -> None:
    """Change a value in a stopped member's newest snapshot, every checksum right: as memory that
    lies, or a bug, would have left it."""
    snapshots = SnapshotDirectory(member.data_dir / "member" / "snap")
    newest = snapshots.newest()
    assert newest is not None
    meta, machine = state.load(newest)
    assert meta is not None
    captured = state.capture(machine, meta)
    kept = captured.history.records
    lies = [
        msgspec.structs.replace(record, encoded=record.encoded.replace(b"true", b"lies"))
        for record in kept
    ]
    assert lies != kept
    changed = replace(captured, history=replace(captured.history, records=lies))
    snapshots.save(meta, state.plan(changed).pages())


def value(cluster: StoreCluster, member: StoreProcess) -> str:
    """As this very member has it."""
    return cluster.etcdctl(
        "get", "k1", "--consistency=s", "--print-value-only", member=member, check=False
    ).stdout.strip()


def test_other_data_are_found_and_the_member_is_replaced(tmp_path: Path, pki: Pki) -> None:
    with store_cluster(tmp_path, pki, 3, *FLAGS) as cluster:
        for number in range(30):
            cluster.etcdctl("put", f"k{number}", "true")
        liar = next(member for member in cluster.members if member is not cluster.leader())
        others = [member for member in cluster.members if member is not liar]
        folder = liar.data_dir / "member" / "snap"
        wait_until(lambda: list(folder.glob("*.snap")), 60, "a snapshot")
        assert liar.stop() == 0

        # Nothing is found where nothing is wrong.
        liar.flags = (*FLAGS, CHECK_FIRST)
        liar.start()
        cluster.wait_healthy()
        assert liar.stop() == 0

        lie(liar)
        liar.start()
        assert liar.process is not None
        assert liar.process.wait(timeout=60) == 1
        assert "found data inconsistency with peers" in liar.log()
        assert "Traceback" not in liar.log()
        cluster.etcdctl("put", "others", "go on", member=others[0])

        liar.flags = FLAGS
        liar.start()
        wait_until(lambda: value(cluster, liar) == "lies", 60, "it serves what is not true")
        wait_until(
            lambda: "alarm:CORRUPT" in cluster.etcdctl("alarm", "list", member=others[0]).stdout,
            60,
            "the alarm",
        )
        listed = cluster.json("member", "list", member=others[0])["members"]
        liars_id = next(member["ID"] for member in listed if member["name"] == liar.name)
        alarms = cluster.etcdctl("alarm", "list", member=others[0]).stdout
        assert alarms == f"memberID:{liars_id} alarm:CORRUPT \n"
        refused = cluster.etcdctl("put", "k1", "x", member=others[0], check=False)
        assert "etcdserver: corrupt cluster" in refused.stderr

        # The way back: replace it, then disarm.
        assert liar.stop() == 0
        shutil.rmtree(liar.data_dir)
        cluster.members.remove(liar)
        cluster.etcdctl("member", "remove", f"{liars_id:x}", member=others[0])
        cluster.etcdctl("alarm", "disarm", member=others[0])
        cluster.etcdctl("put", "writes", "again", member=others[0])
        again = cluster.add(liar.name, *FLAGS)
        cluster.wait_healthy()
        wait_until(lambda: value(cluster, again) == "true", 60, "the truth")
        assert cluster.etcdctl("alarm", "list", member=others[0]).stdout == ""
