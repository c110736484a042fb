"""The undo of faults: on disk before, replayed until nothing is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drills.errors import HealFailed, NothingRan
from drills.heal import heal
from drills.journal import Journal, Undo, pending
from drills.lab import DrillLab
from drills.undo import AnyStep, PassAgain, Plug, PowerOn, Resume, RunOn, Uncordon, Unshape
from kube.component.tls import TlsFiles
from provision.providers.base import LabNetwork, LabSpec, MachineSpec, ProviderError
from provision.providers.local.provider import LocalProvider

STEPS: tuple[AnyStep, ...] = (
    PowerOn(("w1",)), Resume(("w1",)), Plug(("w1",)), PassAgain("1-loss", "loss"), Unshape(("w1",)),
    RunOn("w1", ("true",), "started"), Uncordon("w1"),
)  # fmt: skip


@dataclass
class Switches(LocalProvider):
    """Machines that only note what is done to them; `start` fails at first."""

    fails: int = 0
    started: list[str] = field(default_factory=list)

    async def start(self, lab: LabSpec, names: Sequence[str] | None = None, *_: object) -> None:
        if self.fails:
            self.fails -= 1
            raise ProviderError("the host is busy")
        self.started += names or ()


def lab_of(state: Path, provider: LocalProvider | None = None, *roles: str) -> DrillLab:
    machines = tuple(
        MachineSpec(f"{role[0]}{n + 1}", role, f"10.1.0.{n + 21}", 1.0, 512)  # type: ignore[arg-type]
        for n, role in enumerate(roles or ("worker", "worker"))
    )
    spec = LabSpec(
        "lab", LabNetwork("10.1.0.0/24", "10.1.0.1", "10.1.0.254"), machines, state, "", state
    )
    tls = TlsFiles(state, state, state)
    return DrillLab(spec, provider or Switches(), ("127.0.0.1:1",), state / "none", tls, "fast")


def undo(key: str, *steps: AnyStep) -> Undo:
    return Undo(drill="d", lab="lab", key=key, fault=f"fault {key}", steps=steps, deadline=1.0)


def test_the_undo_is_pending_until_it_is_cleared(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "drills" / "r1")
    journal.write(undo("1", *STEPS))
    assert pending(tmp_path) == [(journal, undo("1", *STEPS))]
    journal.clear("1")
    assert pending(tmp_path) == []


def test_the_latest_fault_is_taken_back_first(tmp_path: Path) -> None:
    for run, key in (("r1", "1"), ("r2", "1"), ("r2", "2")):
        Journal(tmp_path / "drills" / run).write(undo(key, PowerOn((run + key,))))
    assert [u.steps[0] for _, u in pending(tmp_path)] == [
        PowerOn(("r22",)), PowerOn(("r21",)), PowerOn(("r11",)),
    ]  # fmt: skip


def test_every_step_says_what_it_undoes() -> None:
    assert all(str(step) and "step" not in str(step) for step in STEPS)
    assert str(PowerOn(("w1", "w2"))) == "switched on again: w1, w2"


async def test_healing_goes_on_until_nothing_is_left(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "drills" / "r1")
    journal.write(undo("1", PowerOn(("w1",))))
    machines = Switches(fails=2)
    assert await heal(lab_of(tmp_path, machines)) == ["switched on again: w1"]
    assert machines.started == ["w1"]
    assert pending(tmp_path) == []
    assert [line.event for line in journal.lines()] == ["failed", "failed", "healed"]
    assert await heal(lab_of(tmp_path, machines)) == []


async def test_what_cannot_be_undone_stays_in_the_journal(tmp_path: Path) -> None:
    Journal(tmp_path / "drills" / "r1").write(undo("1", PowerOn(("w1",))))
    Journal(tmp_path / "drills" / "r1").write(undo("2", PowerOn(("w2",))))
    stubborn = Switches(fails=1)
    with pytest.raises(HealFailed, match="could not undo fault 2: the host is busy"):
        await heal(lab_of(tmp_path, stubborn), patience=-1)
    assert [u.key for _, u in pending(tmp_path)] == ["2"], "the other was taken back all the same"


async def test_a_torn_line_of_the_undo_log_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.note("drill", "written", "1")
    with (tmp_path / "undo.log").open("ab") as file:
        file.write(b'{"at": 1, "by')
    assert [line.event for line in journal.lines()] == ["written"]


async def test_a_provider_without_a_hand_in_the_network_is_named(tmp_path: Path) -> None:
    far = Switches()
    far.fabric = None  # type: ignore[assignment]
    with pytest.raises(NothingRan, match="cannot be broken from outside"):
        _ = lab_of(tmp_path, far).fabric
