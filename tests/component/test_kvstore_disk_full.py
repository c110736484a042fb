"""A full disk: writes are refused, reads go on, the process lives, and space heals it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.kvstore_harness import store_cluster, wait_until
from tests.component.pki_fixture import Pki

pytestmark = pytest.mark.root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_refuses_writes_and_recovers(small_disk: Path, pki: Pki) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    with store_cluster(small_disk, pki, 1) as cluster:
        member = cluster.members[0]
        value = "x" * 100_000

        def put(number: int) -> subprocess.CompletedProcess[str]:
            return cluster.etcdctl("--command-timeout=5s", "put", f"k{number}", value, check=False)

        acknowledged = []
        for number in range(30):
            if put(number).returncode:
                break
            acknowledged.append(number)
        assert 3 < len(acknowledged) < 30, "the disk did fill up"
        full = "code = ResourceExhausted desc = etcdserver: mvcc: database space exceeded"
        wait_until(lambda: full in put(99).stderr, 60, "the disk to be called full")
        got = cluster.etcdctl("get", "--prefix", "k", "--keys-only").stdout.split()
        assert {f"k{number}" for number in acknowledged} <= set(got)
        assert member.process is not None
        assert member.process.poll() is None
        ballast.unlink()
        wait_until(lambda: put(100).returncode == 0, 60, "writes after there is space")
        member.kill()
        member.start()
        cluster.wait_healthy()
        got = cluster.etcdctl("get", "--prefix", "k", "--keys-only").stdout.split()
        assert {f"k{number}" for number in [*acknowledged, 100]} <= set(got)
