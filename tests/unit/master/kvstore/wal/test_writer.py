"""What writes: a full disk is waited out, and nothing is reported done before it is."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from master.kvstore.raft.messages import HardState
from master.kvstore.wal import writer as writer_module
from master.kvstore.wal.log import FsyncFailed, Identity, Wal, segment_files
from master.kvstore.wal.record import RecordKind, read
from master.kvstore.wal.writer import DiskWriter


@contextmanager
def running(directory: Path, fatal: list[BaseException]) -> Iterator[DiskWriter]:
    writer = DiskWriter(
        Wal.create(directory, Identity(1, 1, ())),
        asyncio.get_running_loop(),
        on_fatal=fatal.append,
        observe_seconds=lambda seconds: None,
    )
    try:
        yield writer
    finally:
        writer.stop()


async def test_what_a_full_disk_did_not_take_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_RETRY_SECONDS", 0.001)
    attempts: list[str] = []
    done: asyncio.Queue[int] = asyncio.Queue()

    def job(wal: Wal) -> None:
        attempts.append("full" if len(attempts) < 3 else "taken")
        if attempts[-1] == "full":
            raise OSError(errno.ENOSPC, "no space")
        wal.append(HardState(1), ())

    with running(tmp_path / "wal", []) as writer:
        writer.submit(job, lambda: done.put_nowait(len(attempts)))
        async with asyncio.timeout(60):
            assert await done.get() == 4
        assert not writer.full


async def test_any_other_failure_is_fatal_and_never_done(tmp_path: Path) -> None:
    fatal: list[BaseException] = []
    done: list[str] = []

    def job(wal: Wal) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with running(tmp_path / "wal", fatal) as writer:
        writer.submit(job, lambda: done.append("done"))
        async with asyncio.timeout(60):
            while not fatal:
                await asyncio.sleep(0)
    assert done == []


async def test_a_small_write_to_a_quick_disk_is_done_at_once_and_sealed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_SEAL_AFTER_SECONDS", 0.001)
    done: list[int] = []
    with running(tmp_path / "wal", []) as writer:
        writer._typical_seconds = 0.0  # as after many writes that took no time
        writer.write(lambda wal: wal.append(HardState(1), ()), lambda: done.append(1))
        assert done == [1]
        async with asyncio.timeout(60):
            while kinds(tmp_path / "wal")[-1] is not RecordKind.SEAL:
                await asyncio.sleep(0)


async def test_a_slow_disk_is_not_waited_for(tmp_path: Path) -> None:
    started, go_on = threading.Event(), threading.Event()
    done: asyncio.Queue[int] = asyncio.Queue()

    def slow(wal: Wal) -> None:
        started.set()
        go_on.wait(60)

    with running(tmp_path / "wal", []) as writer:
        writer._typical_seconds = 1.0
        writer.write(slow, lambda: done.put_nowait(1))
        assert started.wait(60), "it runs on the thread"
        writer._typical_seconds = 0.0
        writer.write(lambda wal: None, lambda: done.put_nowait(2))
        assert done.empty(), "what comes later must not overtake it"
        go_on.set()
        async with asyncio.timeout(60):
            assert [await done.get(), await done.get()] == [1, 2]


async def test_a_disk_that_gets_full_or_breaks_at_once_is_the_threads_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_RETRY_SECONDS", 0.001)
    attempts: list[int] = []
    done: asyncio.Queue[int] = asyncio.Queue()

    def job(wal: Wal) -> None:
        attempts.append(threading.get_ident())
        if len(attempts) < 3:
            raise OSError(errno.ENOSPC, "no space")
        wal.append(HardState(1), ())

    with running(tmp_path / "wal", []) as writer:
        writer._typical_seconds = 0.0  # as after many writes that took no time
        writer.write(job, lambda: done.put_nowait(len(attempts)))
        assert attempts[0] == threading.get_ident()  # the thread may have gone on already
        async with asyncio.timeout(60):
            assert await done.get() == 3
    assert threading.get_ident() not in attempts[1:]


async def test_nothing_is_written_after_a_sync_that_failed(tmp_path: Path) -> None:
    fatal: list[BaseException] = []
    done: list[str] = []

    def job(wal: Wal) -> None:
        raise FsyncFailed("unknown what the disk has")

    with running(tmp_path / "wal", fatal) as writer:
        writer._typical_seconds = 0.0  # as after many writes that took no time
        before = kinds(tmp_path / "wal")
        writer.write(job, lambda: done.append("done"))
        writer.write(lambda wal: wal.append(HardState(1), ()), lambda: done.append("done"))
        assert [type(error) for error in fatal] == [FsyncFailed]
    assert done == []
    assert kinds(tmp_path / "wal") == before, "no seal either: it would call all of it durable"


def kinds(directory: Path) -> list[RecordKind]:
    return [item.kind for path in segment_files(directory) for item in read(path.read_bytes())]
