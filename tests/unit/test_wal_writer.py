"""The thread that writes: a full disk is waited out, and nothing is reported done before it is."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from master.kvstore.raft.messages import HardState
from master.kvstore.wal import writer as writer_module
from master.kvstore.wal.log import Identity, Wal
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
        async with asyncio.timeout(10):
            assert await done.get() == 4
        assert not writer.full


async def test_any_other_failure_is_fatal_and_never_done(tmp_path: Path) -> None:
    fatal: list[BaseException] = []
    done: list[str] = []

    def job(wal: Wal) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with running(tmp_path / "wal", fatal) as writer:
        writer.submit(job, lambda: done.append("done"))
        async with asyncio.timeout(10):
            while not fatal:
                await asyncio.sleep(0)
    assert done == []
