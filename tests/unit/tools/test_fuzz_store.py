"""A few thousand broken inputs for each reader of bytes; `make fuzz-store` tries millions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.fuzz import harness

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("target", ["wal", "snapshot", "frames", "requests"])
def test_broken_input_is_refused_or_read_as_it_was(target: str) -> None:
    done = subprocess.run(
        [sys.executable, "tools/fuzz_store.py", "--target", target, "--count", "4000"],
        cwd=ROOT, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    grown = re.search(r"4000 inputs, no violation; memory grew by (\d+) KiB", done.stdout)
    assert grown is not None, done.stdout
    assert int(grown[1]) < 16 << 10


def test_a_failure_names_the_seed_that_replays_it() -> None:
    def episode(seed: int) -> int:
        assert seed != 7, "broken"
        return 2

    place = [0, 0]
    with pytest.raises(AssertionError, match=r"seed=7: AssertionError\('broken"):
        harness.run(episode, 1, 100, place)
    assert place == [7, 6]
    assert harness.run(episode, 8, 100, place) == 58


@pytest.mark.parametrize(
    ("fate", "told"),
    [
        ("os.kill(os.getpid(), 11)", "t: seed=3: died of signal 11"),
        ("time.sleep(3600)", "t: seed=3: no end after 5.0 s"),
        ("bytearray(100 << 20)", "memory grew by"),
    ],
)
def test_crashes_hangs_and_hunger_are_told(fate: str, told: str) -> None:
    """Of the process that tries the inputs: the one that started it says where it was."""
    code = f"""
import os, time
from tools.fuzz import harness
harness._HUNG_SECONDS = 5.0
def episode(seed):
    if seed == 3:
        {fate}
    return 1
raise SystemExit(harness.main(None, {{"t": episode}}, ["--count", "4"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert told in done.stderr + done.stdout
