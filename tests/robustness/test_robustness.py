"""A few runs of the harness: real processes in their own namespaces, killed where it hurts.

`make robustness` runs all scenarios; `python -m tests.robustness --help` tells more.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.robustness.programs import ROOT

pytestmark = pytest.mark.root
RUNS = (
    "fail:wal-after-append/3/4",  # dies before the fsync, and what was not synced is lost
    "fail:snapshot-after-install/1/0",
    "cut-leader/3/0",
    "power-loss/1/0",
    "delay/3/0",  # members far apart: answers that come sooner than they could fail it
)


def test_faults_break_no_promise(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.robustness",
            "--replay", ",".join(RUNS), "--keep", str(tmp_path),
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == len(RUNS), done.stdout


def test_many_watches_get_everything_at_any_pace() -> None:
    """A few seconds of `make soak-watch`."""
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.robustness.soak", "--minutes", "0.08",
            "--streams", "12", "--multiplexed", "2", "--watches", "10",
        ],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (events,) = re.findall(r"(\d+) events", done.stdout)
    assert int(events) > 100, done.stdout
