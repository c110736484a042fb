"""A disk that fills while the bundle is built: said as such, and nothing half done stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.bundle.build import ensure_bundle
from provision.errors import HostNotReady


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.root
def test_a_full_disk_is_called_by_its_name(small_disk: Path) -> None:
    with pytest.raises(HostNotReady) as failure:
        ensure_bundle(small_disk / "cache", lambda _: None)
    assert "disk filled up" in str(failure.value)
    assert len(str(failure.value)) < 300
    assert failure.value.hint == "free some disk space"
    assert not list(small_disk.glob("cache/**/*.tar*"))
    assert not list(small_disk.glob("cache/**/.build-*"))
