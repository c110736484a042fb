"""The lab's Prometheus as a process: started once, found again, ended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.identities import allocate
from provision.labfile.parse import parse_lab
from provision.monitoring import server
from provision.monitoring.rules import rules_text
from provision.monitoring.scrape import scrape_config
from provision.pki.store import ensure_pki
from provision.state import LabDir
from tests.component.kvstore_harness import wait_until


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[LabDir]:
    """A lab without machines."""
    record = allocate(parse_lab("apiVersion: muster/v1\nkind: Lab\nspec: {workers: 0}"), {})
    found = LabDir(tmp_path / "lab")
    ensure_pki(record, found.pki)
    found.prometheus.write_text(scrape_config(record, found.pki))
    found.rules.write_text(rules_text())
    yield found
    server.stop(found, kill=True)


def test_it_is_started_once_and_serves_on_loopback_with_its_rules(directory: LabDir) -> None:
    assert server.find(directory) is None
    running, started = server.ensure(directory)
    assert started and running.address.startswith("127.0.0.1:")
    wait_until(lambda: server.ready(running), 60, "Prometheus to be ready")
    assert server.ensure(directory) == (running, False)
    assert server.find(directory) == running
    assert "error" not in (directory.series / "log").read_text()


def test_it_has_no_rights_and_little_memory(directory: LabDir) -> None:
    running, _ = server.ensure(directory)
    wait_until(lambda: server.ready(running), 60, "Prometheus to be ready")
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{running.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    if os.geteuid() == 0:
        assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    environment = Path(f"/proc/{running.pid}/environ").read_bytes().split(b"\0")
    assert {f"{name}={value}".encode() for name, value in server.LIMITS.items()} <= set(environment)


def test_it_ends_when_told_and_keeps_its_port_for_the_next_time(directory: LabDir) -> None:
    running, _ = server.ensure(directory)
    wait_until(lambda: server.ready(running), 60, "Prometheus to be ready")
    assert server.stop(directory)
    assert server.find(directory) is None and not server.stop(directory)
    again, started = server.ensure(directory)
    assert started and again.address == running.address


def test_one_that_was_only_just_started_is_ended_too(directory: LabDir) -> None:
    """While it is still becoming Prometheus by way of nice and setpriv."""
    for _ in range(20):
        running, started = server.ensure(directory)
        assert started
        server.stop(directory, kill=True)
        assert not Path(f"/proc/{running.pid}/exe").exists()


def test_a_port_that_somebody_else_has_is_left_to_him(directory: LabDir) -> None:
    taken = {9095, 9090, 9091}
    assert server.free_port(9095, lambda port: port not in taken) == 9092
    assert server.free_port(9200, lambda port: port not in taken) == 9200
