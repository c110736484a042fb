"""When CronJobs are due."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from kube.machinery.cron import CronError, parse

START = datetime(2026, 1, 2, 3, 4, 5)  # a Friday


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("* * * * *", "2026-01-02 03:05"),
        ("*/15 * * * *", "2026-01-02 03:15"),
        ("0 0 * * *", "2026-01-03 00:00"),
        ("30 4 1,15 * 5", "2026-01-02 04:30"),  # a day of either field
        ("30 4 1,15 * *", "2026-01-15 04:30"),
        ("0 8-10/2 * * mon-fri", "2026-01-02 08:00"),
        ("5/20 * * * *", "2026-01-02 03:05"),
        ("0 0 29 feb ?", "2028-02-29 00:00"),
        ("@hourly", "2026-01-02 04:00"),
        ("@weekly", "2026-01-04 00:00"),
        ("@every 1h30m", "2026-01-02 04:34"),
    ],
)
def test_the_next_time(text: str, due: str) -> None:
    found = parse(text).next_after(START)
    assert found is not None
    assert f"{found:%Y-%m-%d %H:%M}" == due


def test_a_day_that_never_comes() -> None:
    assert parse("0 0 30 2 *").next_after(START) is None


def test_a_fixed_pause_of_whole_seconds() -> None:
    assert parse("@every 100ms").every == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("9-5 * * * *", "beginning of range (9) beyond end of range (5): 9-5"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("*/1/2 * * * *", "too many slashes: */1/2"),
        ("x * * * *",
         'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("@often", "unrecognized descriptor: @often"),
        ("@every soon",
         'failed to parse duration @every soon: time: invalid duration "soon"'),
    ],
)  # fmt: skip
def test_what_cannot_be_read(text: str, why: str) -> None:
    with pytest.raises(CronError) as caught:
        parse(text)
    assert str(caught.value) == why
