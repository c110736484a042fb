"""Stock client libraries, unchanged: their watch, lease and lock recipes say the same of our store
as of stock etcd. Each runs as a program of its own (`programs/`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.kvstore_harness import StoreCluster
from tests.differential.pair import Pair, difference

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")
PROGRAMS = Path(__file__).parent / "programs"
# Where Debian's golang-*-dev packages put their sources.
GO_SOURCES = Path("/usr/share/gocode")


@pytest.mark.parametrize("library", ["aetcd", "etcd_client", "etcd3gw"])
def test_python_libraries(pair: Pair, library: str) -> None:
    def run(cluster: StoreCluster) -> str:
        program = [sys.executable, str(PROGRAMS / f"{library}_recipes.py")]
        return said([*program, str(cluster.members[1].plain_port)])

    compare(pair, run)


@pytest.mark.go
@pytest.mark.skipif(
    not (GO_SOURCES / "src/go.etcd.io/etcd/clientv3").exists() or shutil.which("go") is None,
    reason="needs Debian's golang-go and golang-etcd-server-dev: make test-go",
)
def test_go_client(pair: Pair, tmp_path: Path) -> None:
    """clientv3 with its concurrency, namespace, leasing and mirror packages, over mTLS."""
    built = tmp_path / "recipes"
    subprocess.run(
        ["go", "build", "-o", str(built), str(PROGRAMS / "recipes.go")],
        check=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "GO111MODULE": "off",
            "GOPATH": str(GO_SOURCES),
            "GOFLAGS": "",
            "GOCACHE": os.environ.get("GOCACHE", str(tmp_path / "cache")),
        },
    )

    def run(cluster: StoreCluster) -> str:
        tls = cluster.client
        endpoints = ",".join(member.client_url for member in cluster.members)
        return said([str(built), endpoints, str(tls.ca), str(tls.cert), str(tls.key)])

    compare(pair, run)


def compare(pair: Pair, run: object) -> None:
    ours, theirs = pair.each(run)  # type: ignore[arg-type]  # str for each cluster
    assert ours == theirs, difference(ours, theirs)
    assert ours.endswith("done\n")


def said(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
