"""The Vagrant provider's verbs, and how it copes with what vagrant has been seen to do."""

from __future__ import annotations

import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from provision.providers.base import (
    LabNetwork,
    LabSpec,
    MachineSpec,
    MachineState,
    ProviderError,
    Unprepared,
)
from provision.providers.vagrant.provider import VagrantProvider

STAND_IN = Path(__file__).with_name("vagrant_stand_in.py")
RUNNING, STOPPED, ABSENT = MachineState.RUNNING, MachineState.STOPPED, MachineState.ABSENT


@dataclass(frozen=True)
class Stage:
    lab: LabSpec
    provider: VagrantProvider
    calls_file: Path
    misbehaviour: Path

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def misbehave(self, *words: str) -> None:
        self.misbehaviour.write_text(" ".join(words))


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    program = tmp_path / "bin" / "vagrant"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {STAND_IN} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    lab = LabSpec(
        name="t-vagrant",
        network=LabNetwork("10.213.15.0/24", "10.213.15.1", "10.213.15.254"),
        machines=(
            MachineSpec("m1", "master", "10.213.15.11", 1, 512),
            MachineSpec("w1", "worker", "10.213.15.21", 1, 512),
        ),
        state_dir=tmp_path / "t-vagrant",
        ssh_public_key="ssh-ed25519 AAAA me",
        ssh_private_key=tmp_path / "key",
        options={"libvirt": {"driver": "qemu"}, "halt_seconds": 1.0},
    )
    calls, misbehaviour = tmp_path / "calls", tmp_path / "misbehave"
    environment = {"CALLS": str(calls), "MISBEHAVE": str(misbehaviour)}
    provider = VagrantProvider(environment)
    yield Stage(lab, provider, calls, misbehaviour)
    misbehaviour.unlink(missing_ok=True)
    await provider.destroy(lab)
    assert not lab.state_dir.exists()


async def test_the_life_of_a_lab(stage: Stage) -> None:
    lab, provider = stage.lab, stage.provider
    said: list[tuple[str, str]] = []
    await provider.create(lab, lambda machine, text: said.append((machine, text)))
    assert ("w1", "Machine booted and ready!") in said
    assert await provider.states(lab) == {"m1": RUNNING, "w1": RUNNING}
    await provider.stop(lab, ["w1"])
    assert await provider.states(lab) == {"m1": RUNNING, "w1": STOPPED}
    await provider.start(lab)
    await provider.pause(lab, ["m1"])
    assert (await provider.states(lab))["m1"] == MachineState.PAUSED
    await provider.resume(lab)
    await provider.power_off(lab, ["m1"])
    assert await provider.states(lab) == {"m1": STOPPED, "w1": RUNNING}
    await provider.destroy(lab)
    assert await provider.states(lab) == {"m1": ABSENT, "w1": ABSENT}


async def test_creating_again_boots_nothing(stage: Stage) -> None:
    await stage.provider.create(stage.lab)
    await stage.provider.create(stage.lab)
    assert [call for call in stage.calls() if call.startswith("up")] == ["up m1 w1 --parallel"]


async def test_a_failed_create_is_rolled_back(stage: Stage) -> None:
    stage.misbehave("w1-fails")
    with pytest.raises(ProviderError, match="raise the option boot_seconds"):
        await stage.provider.create(stage.lab)
    assert not (stage.lab.state_dir / "vagrant").exists()
    assert "destroy --force --no-parallel m1 w1" in stage.calls()


async def test_a_failed_addition_leaves_the_rest_alone(stage: Stage) -> None:
    await stage.provider.create(stage.lab)
    stage.misbehave("w2-fails")
    added = MachineSpec("w2", "worker", "10.213.15.22", 1, 512)
    larger = replace(stage.lab, machines=(*stage.lab.machines, added))
    with pytest.raises(ProviderError):
        await stage.provider.create(larger)
    assert await stage.provider.states(larger) == {"m1": RUNNING, "w1": RUNNING, "w2": ABSENT}


async def test_a_failed_create_is_kept_on_request(stage: Stage) -> None:
    stage.misbehave("w1-fails")
    with pytest.raises(ProviderError):
        await stage.provider.create(stage.lab, retain=True)
    assert (await stage.provider.states(stage.lab))["m1"] == RUNNING


async def test_a_halt_that_hangs_becomes_a_forced_one(stage: Stage) -> None:
    await stage.provider.create(stage.lab)
    stage.misbehave("halt-hangs")
    await stage.provider.stop(stage.lab)
    assert "halt --force m1 w1" in stage.calls()
    assert await stage.provider.states(stage.lab) == {"m1": STOPPED, "w1": STOPPED}


async def test_destroying_halted_machines_is_done_one_by_one(stage: Stage) -> None:
    await stage.provider.create(stage.lab)
    await stage.provider.stop(stage.lab, ["w1"])
    stage.misbehave("destroy-fails")
    await stage.provider.destroy(stage.lab)
    assert stage.calls()[-1] == "destroy --force --no-parallel w1"
    assert not stage.lab.state_dir.exists()


async def test_an_absent_lab(stage: Stage) -> None:
    await stage.provider.destroy(stage.lab)
    await stage.provider.stop(stage.lab)
    await stage.provider.power_off(stage.lab)
    await stage.provider.resume(stage.lab)
    assert set((await stage.provider.states(stage.lab)).values()) == {ABSENT}
    assert stage.calls() == [], "vagrant takes seconds to say that there is nothing"
    with pytest.raises(ProviderError, match='"m1" does not exist'):
        await stage.provider.pause(stage.lab)
    with pytest.raises(ProviderError, match='"m1" has never been up'):
        await stage.provider.ssh_target(stage.lab, "m1")


async def test_without_vagrant_the_packages_are_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unprepared, match="apt-get install vagrant vagrant-libvirt") as refused:
        await stage.provider.create(stage.lab)
    assert refused.value.problems[0].packages == ("vagrant", "vagrant-libvirt")
