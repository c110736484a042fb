"""The CRI log format, its options, and following a file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.files.threads import FileThreads
from kube.machinery.times import to_seconds
from worker.kubelet.cri.logfiles import read_log
from worker.kubelet.cri.logrotation import (
    RotationPolicy,
    clear,
    next_name,
    open_newest,
    put_back,
    remove_logs,
    set_aside,
)
from worker.kubelet.cri.logs import LogFormatter, LogOptions, parse_record

LINES = [
    b"2026-01-02T03:04:05.000000001Z stdout F one",
    b"2026-01-02T03:04:06.5Z stderr F two",
    b"2026-01-02T03:04:07+00:00 stdout P thr",
    b"2026-01-02T03:04:07+00:00 stdout F ee",
    b"2026-01-02T03:04:08Z stdout F ",
]
FILE = b"\n".join(LINES) + b"\n"


def render(**options: object) -> bytes:
    return LogFormatter(LogOptions(**options)).feed(FILE)


def test_partial_records_are_one_line() -> None:
    assert render() == b"one\ntwo\nthree\n\n"


def test_timestamps_stand_once_per_line() -> None:
    assert render(timestamps=True).splitlines()[2] == b"2026-01-02T03:04:07Z three"


def test_since_and_stream_filter() -> None:
    assert render(since=to_seconds("2026-01-02T03:04:07Z")) == b"three\n\n"
    assert render(stream="Stderr") == b"two\n"


def test_the_byte_limit_cuts_in_the_middle() -> None:
    formatter = LogFormatter(LogOptions(limit_bytes=5))
    assert formatter.feed(FILE) == b"one\nt"
    assert formatter.exhausted


def test_lines_that_are_no_records_are_dropped() -> None:
    assert parse_record(b"garbage") is None
    assert LogFormatter(LogOptions()).feed(b"garbage here now x\n" + LINES[0] + b"\n") == b"one\n"


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=20))
def test_chunking_changes_nothing(sizes: list[int]) -> None:
    formatter, out, at = LogFormatter(LogOptions(timestamps=True)), b"", 0
    for size in sizes:
        out += formatter.feed(FILE[at : at + size])
        at += size
    out += formatter.feed(FILE[at:])
    assert out == render(timestamps=True)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"tailLines": "many"}, "tailLines"),
        ({"limitBytes": "0"}, "limitBytes"),
        ({"sinceTime": "yesterday"}, "sinceTime"),
    ],
)
def test_wrong_options_are_named(query: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogOptions.parse(query, now=0.0)


@pytest.fixture(scope="module")
def threads() -> FileThreads:
    return FileThreads("logs", 1)


async def read_all(threads: FileThreads, path: Path, options: LogOptions) -> bytes:
    with path.open("rb") as log:
        pieces = read_log(threads, log.fileno(), options, lambda: False)
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("tail", [0, 1, 2, 5, 99])
@pytest.mark.parametrize("ends_with_newline", [True, False])
async def test_tail_counts_records_from_the_end(
    threads: FileThreads, tmp_path: Path, tail: int, ends_with_newline: bool
) -> None:
    """Also over block borders: the records here are longer than a block together."""
    records = [b"2026-01-02T03:04:05Z stdout F %05d %s" % (n, b"x" * 9000) for n in range(50)]
    path = tmp_path / "0.log"
    path.write_bytes(b"\n".join(records) + (b"\n" if ends_with_newline else b""))
    options = LogOptions(tail_lines=tail)
    got = [line[:5] for line in (await read_all(threads, path, options)).splitlines()]
    complete = records if ends_with_newline else records[:-1]
    kept = [b"%05d" % n for n in range(50)][-tail:] if tail else []
    assert got == [k for k in kept if int(k) < len(complete)]


async def test_follow_sees_what_comes_until_the_container_ends(
    threads: FileThreads, tmp_path: Path
) -> None:
    path, alive = tmp_path / "0.log", True
    path.write_bytes(LINES[0] + b"\n")
    got: list[bytes] = []

    async def follow() -> None:
        with path.open("rb") as log:
            options = LogOptions(follow=True)
            async for piece in read_log(threads, log.fileno(), options, lambda: alive):
                got.append(piece)

    async with asyncio.timeout(60):
        task = asyncio.create_task(follow())
        while not got:
            await asyncio.sleep(0.01)
        with path.open("ab") as file:
            file.write(LINES[1] + b"\n")
        while len(got) < 2:
            await asyncio.sleep(0.01)
        alive = False
        await task
    assert b"".join(got) == b"one\ntwo\n"


def test_names_of_rotated_logs_sort_by_time() -> None:
    now = "20261130-200501"
    assert next_name("0.log", now, []) == "0.log.20261130-200501"
    assert next_name("0.log", now, ["0.log.20261130-200459.gz"]) == "0.log.20261130-200501"
    for taken in ("0.log.20261130-200501", "0.log.20261130-200501.gz"):
        assert next_name("0.log", now, [taken]) == "0.log.20261130-200502"
    assert next_name("0.log", now, ["0.log.20270101-000000"]) == "0.log.20270101-000001"


def test_the_log_of_a_run_goes_with_what_rotation_made_of_it(tmp_path: Path) -> None:
    place = tmp_path / "d_p_u" / "c"
    place.mkdir(parents=True)
    mine = ("0.log", "0.log.20261130-200501", "0.log.20261130-200401.gz")
    for name in (*mine, "10.log", "1.log"):
        (place / name).touch()
    remove_logs(place / "0.log", tmp_path)
    remove_logs(place / "0.log", tmp_path)
    assert {p.name for p in place.iterdir()} == {"10.log", "1.log"}


def test_old_logs_go_by_number_and_by_size(tmp_path: Path) -> None:
    place = tmp_path / "c"
    place.mkdir()
    for minute in range(5):
        (place / f"0.log.20261130-2000{minute:02}.gz").write_bytes(bytes(10))
    (place / "0.log.20261130-200000.tmp").touch()
    clear(place / "0.log", tmp_path, RotationPolicy(max_bytes=100, max_files=5))
    assert [p.name[-5:-3] for p in sorted(place.iterdir())] == ["02", "03", "04"]
    clear(place / "0.log", tmp_path, RotationPolicy(max_bytes=4, max_files=5))
    assert [p.name[-5:-3] for p in sorted(place.iterdir())] == ["03", "04"]


def test_a_rotation_that_the_runtime_refuses_is_undone(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    path = tmp_path / "c/0.log"
    path.write_text("old")
    name = set_aside(path, tmp_path, "20261130-200501")
    # Until the runtime has begun a new one, readers find the old one.
    fd = open_newest(path, tmp_path)
    assert os.read(fd, 10) == b"old"
    os.close(fd)
    put_back(path, tmp_path, name)
    assert path.read_text() == "old"
    name = set_aside(path, tmp_path, "20261130-200501")
    path.write_text("new")
    put_back(path, tmp_path, name)
    assert (path.read_text(), (tmp_path / "c" / name).read_text()) == ("new", "old")
