"""A container's end is never told as before its start."""

from __future__ import annotations

import pytest

from worker.runtime.containers.lifecycle import end_time


@pytest.mark.parametrize(
    ("exit_file_time", "started_at", "now", "ended"),
    [
        (120, 100, 130, 120),  # the exit file knows best
        (96, 100, 130, 100),  # a coarse clock, behind the start
        (0, 100, 130, 130),  # the exit file is lost
        (120, 0, 130, 120),  # it ended before its start was recorded
    ],
)
def test_the_end_follows_the_start(
    exit_file_time: int, started_at: int, now: int, ended: int
) -> None:
    assert end_time(exit_file_time, started_at, now) == ended
