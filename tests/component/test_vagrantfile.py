"""The real vagrant reads the real Vagrantfile; it boots nothing and needs no libvirtd."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from provision.providers.base import LabNetwork, LabSpec, MachineSpec, MachineState
from provision.providers.vagrant.provider import VagrantProvider

pytestmark = pytest.mark.skipif(
    shutil.which("vagrant") is None,
    reason="vagrant is absent: apt-get install vagrant vagrant-libvirt",
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path: Path) -> LabSpec:
    return LabSpec(
        name="t-file",
        network=LabNetwork("10.213.16.0/24", "10.213.16.1", "10.213.16.254"),
        machines=(
            MachineSpec("m1", "master", "10.213.16.11", 1.5, 512, 4096),
            MachineSpec("w1", "worker", "10.213.16.21", 1, 512),
        ),
        state_dir=tmp_path / "t-file",
        ssh_public_key="ssh-ed25519 AAAA me",
        ssh_private_key=tmp_path / "key",
        options={
            "boot_seconds": 900,
            "insert_key": False,
            "guest": "debian",
            "libvirt": {
                "driver": "qemu",
                "cpu_mode": "custom",
                "cpu_model": "qemu64",
                "kernel": "/k",
                "initrd": "/i",
                "cmd_line": "root=/dev/vda",
                "storage_pool_name": "muster-test",
                "management_network_name": "muster-test",
                "management_network_address": "10.213.17.0/24",
            },
        },
    )


@pytest.fixture
def vagrant(tmp_path: Path) -> VagrantProvider:
    return VagrantProvider({"VAGRANT_HOME": str(tmp_path / "home")})


async def test_a_rendered_lab_is_valid(lab: LabSpec, vagrant: VagrantProvider) -> None:
    assert await vagrant.check(lab) == []
    assert not lab.state_dir.exists()


async def test_a_misspelt_override_is_found(lab: LabSpec, vagrant: VagrantProvider) -> None:
    misspelt = replace(lab, options={"libvirt": {"driver": "qemu", "cpuz": 1}})
    (problem,) = await vagrant.check(misspelt)
    assert "cpuz" in problem.text


async def test_the_machines_are_those_of_the_lab(lab: LabSpec, vagrant: VagrantProvider) -> None:
    vagrant._prepare(lab)
    assert await vagrant.states(lab) == dict.fromkeys(("m1", "w1"), MachineState.ABSENT)


def test_by_hand_it_makes_as_many_as_asked(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "MUSTER_MASTERS": "3",
        "MUSTER_WORKERS": "1",
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "notes"),
        "VAGRANT_DEFAULT_PROVIDER": "libvirt",
    }
    environment.pop("MUSTER_LAB", None)
    done = subprocess.run(
        ["vagrant", "status", "--machine-readable"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    states = [line.split(",")[1] for line in done.stdout.splitlines() if ",state," in line]
    assert states == ["m1", "m2", "m3", "w1"]
