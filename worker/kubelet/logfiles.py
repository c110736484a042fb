"""Reads a container's log file, from its tail, and follows it while the container lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from worker.kubelet.logs import LogFormatter, LogOptions

_CHUNK = 64 * 1024
# A follower looks this often; inotify would save nothing that a person notices.
_POLL_SECONDS = 0.1


async def read_log(
    path: Path, options: LogOptions, is_running: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Formatted pieces of the log. With `follow`, until the container has ended."""
    formatter = LogFormatter(options)
    with path.open("rb") as file:
        if options.tail_lines is not None:
            _seek_tail(file, options.tail_lines)
        while not formatter.exhausted:
            data = file.read(_CHUNK)
            if data:
                if text := formatter.feed(data):
                    yield text
            elif not options.follow:
                return
            elif not is_running():
                # What was written between the last read and the exit.
                if text := formatter.feed(file.read()):
                    yield text
                return
            else:
                await asyncio.sleep(_POLL_SECONDS)


def _seek_tail(file: BinaryIO, lines: int) -> None:
    """Go to the start of the last `lines` lines, reading blocks from the end."""
    end = file.seek(0, 2)
    at, missing = end, lines + 1  # the newline before the first wanted line
    while at > 0:
        start = max(at - _CHUNK, 0)
        file.seek(start)
        block = file.read(at - start)
        if at == end and not block.endswith(b"\n"):
            missing -= 1  # an unfinished last line counts as one
        while (found := block.rfind(b"\n")) >= 0:
            missing -= 1
            if missing == 0:
                file.seek(start + found + 1)
                return
            block = block[:found]
        at = start
    file.seek(0 if lines else end)
