"""What a test run says at its end about the tests that it left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SUITE = """
import pytest

def test_runs(): pass

@pytest.mark.skipif(True, reason="no such program")
@pytest.mark.parametrize("n", [1, 2])
def test_wants_a_program(n): pass

@pytest.mark.vagrant
def test_wants_a_machine(): pass
"""


def told(folder: Path, *arguments: str, suite: str = SUITE) -> str:
    (folder / "test_some.py").write_text(suite)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-c",
        ROOT / "pyproject.toml",
    ]
    done = subprocess.run(
        [*command, "--rootdir", folder, folder, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.partition("did not run")[2]


def test_every_left_out_module_is_named_with_the_reason(tmp_path: Path) -> None:
    told_last = told(tmp_path, "-m", "not vagrant")
    assert "test_some.py: 2 tests: no such program" in told_last
    assert "test_some.py: 1 test: run it with `make test-vagrant`" in told_last


def test_a_whole_run_says_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, suite="def test_runs(): pass") == ""
