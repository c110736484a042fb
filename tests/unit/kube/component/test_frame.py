"""The frame of every process: what becomes of failures, and of garbage that others send."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from kube.component.failure import CannotRun
from kube.component.log import configure
from kube.component.run import feeding_seconds, run


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """`configure` replaces the root's handlers, which are pytest's here."""
    root, server = logging.getLogger(), logging.getLogger("aiohttp.server")
    before = (root.handlers[:], root.level, server.filters[:])
    yield
    root.handlers[:], server.filters[:] = before[0], before[2]
    root.setLevel(before[1])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("grouped", [False, True])
def test_what_the_operator_must_mend_is_one_line(
    grouped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(_config: None, _stop: asyncio.Event) -> None:
        error = CannotRun("the log is damaged: move it away")
        raise ExceptionGroup("tasks", [error]) if grouped else error

    assert run(serve, None, "kvstore") == 1
    last = lines(capsys)[-1]
    assert (last["msg"], last["error"]) == ("cannot run", "the log is damaged: move it away")
    assert "traceback" not in last


def test_a_fault_of_ours_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(_config: None, _stop: asyncio.Event) -> None:
        raise KeyError("x")

    assert run(serve, None, "kvstore") == 1
    last = lines(capsys)[-1]
    assert last["msg"] == "component failed"
    assert "KeyError" in last["traceback"]


def test_garbage_on_an_http_port_is_a_short_warning(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        raise BadHttpMessage("Invalid method encountered:\n" + "\\xff" * 50_000)
    except BadHttpMessage:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    (line,) = lines(capsys)
    assert line["level"] == "warning"
    assert "Invalid method" in line["error"]
    assert "traceback" not in line
    assert len(json.dumps(line)) < 1000


@pytest.mark.parametrize(
    ("usec", "watched"),
    [("30000000", "8"), ("", ""), ("", "7"), ("0", "7"), ("-5", "7"), ("soon", "7")],
)
def test_the_watchdog_is_not_fed_by_whom_systemd_does_not_watch(usec: str, watched: str) -> None:
    assert feeding_seconds(usec, watched, 7) is None


@pytest.mark.parametrize("watched", ["7", ""])  # without a pid, whoever gets it is meant
def test_the_watchdog_is_fed_at_half_its_interval_or_more_often(watched: str) -> None:
    every_seconds = feeding_seconds("30000000", watched, 7)
    assert every_seconds is not None
    assert 0 < every_seconds <= 15
