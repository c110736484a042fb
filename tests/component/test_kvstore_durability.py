"""A disk that fails or lies stops the member with a message; the documented way back works."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.kvstore_harness import StoreCluster, StoreProcess, store_cluster, wait_until
from tests.component.pki_fixture import Pki

# The disk's answer to a sync, while the file that BROKEN_DISK names is there.
_BROKEN_SYNC = r"""
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int descriptor) {
    const char *switch_ = getenv("BROKEN_DISK");
    if (switch_ && access(switch_, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, descriptor);
}
"""


@pytest.fixture
def cluster(tmp_path: Path, pki: Pki) -> Iterator[StoreCluster]:
    with store_cluster(tmp_path, pki, 3) as running:
        for number in range(10):
            running.etcdctl("put", f"k{number}", f"v{number}")
        for member in running.members:
            wait_until(lambda m=member: holds_everything(running, m), 60, f"all at {member.name}")
        yield running


def holds_everything(cluster: StoreCluster, member: StoreProcess) -> bool:
    """By itself, whatever the others have."""
    got = cluster.etcdctl("get", "--prefix", "k", "--consistency=s", member=member, check=False)
    return got.stdout.split() == [text for n in range(10) for text in (f"k{n}", f"v{n}")]


def stopped_with(member: StoreProcess, message: str) -> None:
    assert member.process is not None
    assert member.process.wait(timeout=60) == 1
    assert message in member.log()
    assert "Traceback" not in member.log()


def test_a_failed_sync_stops_the_member_and_nobody_else(
    cluster: StoreCluster, tmp_path: Path
) -> None:
    """The leader's, so that the others must also take over."""
    source, library = tmp_path / "sync.c", tmp_path / "sync.so"
    source.write_text(_BROKEN_SYNC)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    broken = tmp_path / "broken"
    victim = cluster.leader()
    others = [member for member in cluster.members if member is not victim]
    assert victim.stop() == 0
    victim.env = {"LD_PRELOAD": str(library), "BROKEN_DISK": str(broken)}
    victim.start()
    cluster.wait_healthy()
    cluster.make_leader(victim)
    broken.touch()
    cluster.etcdctl("put", "triggers", "a write", member=victim, check=False)
    stopped_with(victim, "Input/output error")
    wait_until(
        lambda: cluster.etcdctl("put", "after", "x", member=others[0], check=False).returncode == 0,
        60,
        "the others go on",
    )
    broken.unlink()
    victim.start()
    cluster.wait_healthy()
    assert holds_everything(cluster, victim)


def test_a_log_damaged_in_its_middle_stops_the_member_which_is_replaced(
    cluster: StoreCluster,
) -> None:
    victim, asked = cluster.members[2], cluster.members[0]
    assert victim.stop() == 0
    segment = max((victim.data_dir / "member" / "wal").glob("*.wal"))
    data = bytearray(segment.read_bytes())
    data[data.index(b"v5")] ^= 1
    segment.write_bytes(data)
    victim.start()
    stopped_with(victim, "Replace this member (member remove, member add, start with an empty")
    cluster.etcdctl("put", "meanwhile", "x", member=asked)

    # As docs/store.md says it.
    listed = cluster.json("member", "list", member=asked)["members"]
    victims_id = next(member["ID"] for member in listed if member["name"] == victim.name)
    cluster.members.remove(victim)
    cluster.etcdctl("member", "remove", f"{victims_id:x}", member=asked)
    shutil.move(victim.data_dir, victim.data_dir.with_suffix(".damaged"))
    again = cluster.add(victim.name)
    cluster.wait_healthy()
    wait_until(lambda: holds_everything(cluster, again), 60, "all data are there again")
    hashes = {
        status["HashKV"]["hash"]
        for member in cluster.members
        for status in cluster.json("endpoint", "hashkv", member=member)
    }
    assert len(hashes) == 1
