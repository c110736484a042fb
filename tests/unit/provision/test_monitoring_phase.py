"""What a lab says that cannot be watched, or not by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.identities import allocate
from provision.labfile.parse import parse_lab
from provision.monitoring import server
from provision.phases.monitoring import lacks, start_monitoring
from provision.phases.session import Session
from provision.state import Store


class Notes:
    """A reporter that keeps what it is told to note."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, phase: str) -> None: ...

    def step(self, phase: str, machine: str, message: str) -> None: ...

    def end(self, phase: str, seconds: float, note: str) -> None: ...

    def failed(self, phase: str, seconds: float) -> None: ...

    def note(self, message: str) -> None:
        self.said.append(message)


def session(tmp_path: Path, spec: str) -> Session:
    text = f"apiVersion: muster/v1\nkind: Lab\nspec: {spec}"
    return Session(Store(tmp_path), allocate(parse_lab(text), {}))


async def test_without_the_package_a_lab_says_which_it_lacks_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no prometheus
    notes, lab = Notes(), session(tmp_path, "{}")
    assert await start_monitoring(lab, notes) == []
    (said,) = notes.said
    assert said.startswith("no Prometheus: not installed here (apt-get install prometheus")
    assert server.find(lab.directory) is None


async def test_a_lab_file_turns_it_off_without_a_word(tmp_path: Path) -> None:
    notes, lab = Notes(), session(tmp_path, "{monitoring: false}")
    assert await start_monitoring(lab, notes) == []
    assert notes.said == [] and server.find(lab.directory) is None


def test_machines_in_a_cloud_have_ports_that_this_host_does_not_reach(tmp_path: Path) -> None:
    assert "in a cloud" in lacks(session(tmp_path, "{provider: ec2}"))
