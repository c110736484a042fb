"""Drills on a real lab: built-in ones, one of the user's own, and one that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab_driver import ROOT, LabDriver, eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="making machines needs root"),
]

NAME = "t-drills"
DRILL_SECONDS = 240.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabDriver]:
    """One lab for all drills here; each brings its own workload along."""
    driver = LabDriver(NAME, tmp_path_factory.mktemp("kube") / "config")
    try:
        done = driver.muster("up", "--name", NAME, "--workers", "2")
        assert done.code == 0, done.err + done.out
        yield driver
    finally:
        driver.muster("down", "--name", NAME)


def run(lab: LabDriver, drill: str, folder: Path, *more: str) -> dict[str, Any]:
    """Run a drill that must pass (warnings are allowed); its report."""
    done = lab.muster(
        "drill", "run", drill, "--name", NAME, "--report", str(folder), *more,
        timeout=DRILL_SECONDS,
    )  # fmt: skip
    assert done.code in (0, 3), done.out + done.err
    assert lab.muster("drill", "heal", "--name", NAME).out == "nothing to undo\n"
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert all(p["seconds"] is not None for p in report["phases"]), report["phases"]
    return report


@pytest.mark.parametrize(
    "drill", ["pod-kill", "container-kill", "kubelet-kill", "node-drain", "node-freeze-short"]
)
def test_a_drill_of_the_catalog_passes(lab: LabDriver, drill: str, tmp_path: Path) -> None:
    report = run(lab, drill, tmp_path)
    assert report["drill"] == drill
    assert report["requests"]
    events = {line["event"] for line in report["undo"]}
    assert events == {"written", "injected", "healed"}


OWN = """
apiVersion: muster/v1
kind: Drill
metadata: {name: own}
spec:
  order: parallel
  load: {apiWritesPerSecond: 5}
  steadyState:
    probes:
      - {probe: condition, name: w1_ready, kind: Node, object: w1}
      - {probe: tcp, name: api, host: m1, port: 6443}
  faults:
    - {fault: loss, percent: 10, target: {role: worker}, durationSeconds: 3}
    - {fault: kill-pods, target: {role: worker, pick: most-pods}, delaySeconds: 1}
  recovery: {phases: [fault, pods_deleted, replacements_created, ready, service_answers]}
  wayBack: {phases: [healed, good_after_heal]}
  levels:
    - {metric: w1_ready_failures, max: 0}
    - {metric: failed_api_writes, max: 3}
"""


def test_a_users_own_file_with_two_faults_at_once_and_probes_runs(
    lab: LabDriver, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    report = run(lab, str(tmp_path / "own.yaml"), tmp_path)
    faults = [line["fault"] for line in report["undo"] if line["event"] == "injected"]
    assert sorted(faults) == ["1-loss", "2-kill-pods"]
    assert report["apiWrites"]
    assert {lane["name"] for lane in report["lanes"]} >= {"m1", "w1", "w2", "probe api"}


def test_an_abort_condition_ends_the_drill_and_heals(lab: LabDriver, tmp_path: Path) -> None:
    done = lab.muster(
        "drill", "run", "node-freeze-short", "--name", NAME, "--report", str(tmp_path),
        "--set", "spec.abort=[{metric: requests, max: 5}]",
        "--set", "spec.faults[0].durationSeconds=60",
        timeout=DRILL_SECONDS,
    )  # fmt: skip
    assert done.code == 1, done.out + done.err
    assert "aborted" in done.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert [line["by"] for line in report["undo"] if line["event"] == "healed"] == ["drill"]


def test_ctrl_c_heals_says_so_and_leaves_a_report(lab: LabDriver, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "muster", "drill", "run", "node-power-off", "--name", NAME,
             "--report", str(tmp_path / "report")],
            cwd=ROOT, env=lab.env, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            eventually(lambda: "power cut of" in log.read_text(), 60, "the fault")
            process.send_signal(signal.SIGINT)
            assert process.wait(DRILL_SECONDS) == 130, log.read_text()
        finally:
            process.kill()
            process.wait()
    said = log.read_text()
    assert "interrupted; switched on again: w" in said
    assert "verdict: interrupted: by the user" in said
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["verdict"] == "interrupted"
    states = json.loads(lab.muster("node", "list", "--name", NAME, "-o", "json").out)
    assert "stopped" not in json.dumps(states)
    _wait_ready(lab)


def _wait_ready(lab: LabDriver) -> None:
    def all_ready() -> bool:
        conditions = [
            c["status"]
            for node in lab.get("nodes")["items"]
            for c in node["status"]["conditions"]
            if c["type"] == "Ready"
        ]
        return conditions == ["True"] * 3

    eventually(all_ready, 60, "all nodes Ready")


def test_the_history_tells_of_every_run(lab: LabDriver) -> None:
    runs = json.loads(lab.muster("drill", "history", "--name", NAME, "-o", "json").out)
    verdicts = {run["verdict"] for run in runs}
    assert "interrupted" in verdicts and "aborted" in verdicts
    assert all(run["left"] == "" for run in runs)
    done = lab.muster("drill", "compare", "pod-kill", "node-drain", "--name", NAME)
    assert "replacements Running" in done.out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("no-such-drill",), "no-such-drill"),
        (("/nonexistent/x.yaml",), 'no drill "/nonexistent/x.yaml"'),
        (("node-power-off", "--set", "spec.minMasters=3"), "needs 3 masters"),
        (("node-power-off", "--node", "w9"), "w9"),
        (("node-power-off", "--set", "spec.fauls=[]"), "spec.fauls: unknown field"),
        (("node-power-off", "--set", "spec.faults[0].target={pick: all}"), "quorum"),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(
    lab: LabDriver, args: tuple[str, ...], said: str
) -> None:
    done = lab.muster("drill", "run", *args, "--name", NAME)
    assert done.code in (2, 4)
    assert said in done.err
    assert "Traceback" not in done.err
