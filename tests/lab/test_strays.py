"""Machines that no lab owns any more: named by `doctor`, in the way of `up`, removed by `prune`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab_driver import MUSTER, LabDriver, host_changes, host_state

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabDriver]:
    before = host_state()
    driver = LabDriver("t-stray", tmp_path / "config")
    try:
        done = driver.muster("up", "--name", driver.name, "--workers", "0", "--no-wait")
        assert done.code == 0, done.err + done.out
        yield driver
    finally:
        driver.muster("prune", "--yes", driver.name)
        driver.muster("down", "--name", driver.name)
    assert host_changes(driver.name, before, host_state()) == []


def state_dir(lab: LabDriver) -> Path:
    return Path(
        json.loads(lab.muster("status", "--name", lab.name, "-o", "json").out)["pki"]
    ).parent


def stray(lab: LabDriver) -> dict[str, str]:
    """What `doctor` says of the lab."""
    rows = json.loads(lab.muster("doctor", "-o", "json").out)
    return next((row for row in rows if f'"{lab.name}"' in row["name"]), {})


def test_a_state_directory_that_was_deleted(lab: LabDriver) -> None:
    place = state_dir(lab)
    assert stray(lab) == {}
    assert "nothing to remove" in lab.muster("prune", "--yes", lab.name).out
    shutil.rmtree(place)
    assert stray(lab)["fix"] == "muster prune"
    again = lab.muster("up", "--name", lab.name, "--workers", "0")
    assert again.code == 5
    assert "muster prune" in again.err
    asked = lab.run(*MUSTER, "prune", lab.name, stdin="n\n")
    assert asked.code == 1, asked.err
    assert "nothing was removed" in asked.out
    assert stray(lab)["fix"] == "muster prune"
    done = lab.muster("prune", "--yes", lab.name)
    assert done.code == 0, done.err
    assert f'"{lab.name}"' in done.out
    assert stray(lab) == {}
    assert not place.exists()


def test_a_damaged_record(lab: LabDriver) -> None:
    place = state_dir(lab)
    (place / "lab.json").write_text('{"name": ')
    for command in ("status", "down", "stop"):
        refused = lab.muster(command, "--name", lab.name)
        assert refused.code == 1, refused.err + refused.out
        assert "muster prune" in refused.err
    done = lab.muster("prune", "--yes", lab.name)
    assert done.code == 0, done.err
    assert not place.exists()
