"""How exposed each unit would be, by systemd's own count (systemd-analyze security, offline)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from provision.identities import allocate
from provision.labfile import parse_lab
from provision.payload.agents import agent_units
from provision.payload.keepalived import check_unit, keepalived_unit
from provision.payload.masters import master_units
from provision.payload.units import render

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
RECORD = allocate(parse_lab("apiVersion: muster/v1\nkind: Lab\nspec: {masters: 3}"), {})
UNITS = {
    unit.name: unit
    for unit in (
        *master_units(RECORD, RECORD.masters[0]),
        *agent_units(RECORD, RECORD.masters[0]),
        check_unit(),
        keepalived_unit(),
    )
}
# The kubelet mounts for pods, and the runtime hands what it has to privileged containers.
MOST = dict.fromkeys(UNITS, 5.0) | {"muster-kubelet": 6.0, "muster-runtime": 9.6}


@pytest.mark.parametrize("name", UNITS)
def test_exposure(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.service"
    file.write_text(render(UNITS[name]))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= MOST[name]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.service"
    file.write_text(render(UNITS[name]))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not [line for line in done.stderr.splitlines() if str(file) in line], done.stderr
