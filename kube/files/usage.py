"""How much disk directory trees take that somebody hostile fills, measured beside the event loop.

du(1) does it, at the lowest priority: it follows no link, enters no other file system, counts a
file of many names once, and does not care whether the tree changes meanwhile. A process costs the
loop nothing, however large the tree is, and can be ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

_KILLED_SECONDS = 5.0


async def used_bytes(paths: Sequence[Path], seconds: float) -> dict[Path, int] | None:
    """Bytes on disk of each tree; one that is gone is missing. None when time ran out."""
    process = await asyncio.create_subprocess_exec(
        "nice", "-n", "19", "du", "--summarize", "--one-file-system", "--block-size=1", "--",
        *map(str, paths),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(seconds):
            out, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            await _end(process)
    return dict(_parse(out))


def _parse(out: bytes) -> list[tuple[Path, int]]:
    rows = (line.partition(b"\t") for line in out.splitlines())
    return [(Path(os.fsdecode(name)), int(size)) for size, tab, name in rows if tab]


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # One that hangs in the kernel (a dead network file system) is not waited for.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_KILLED_SECONDS):
            await process.wait()
