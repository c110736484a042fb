"""Reads a container's log file, from its tail, and follows it while the container lives.

The reading and the parsing are done in threads: a container decides how long its lines are and how
many there are of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

from muster.files.threads import FileThreads
from worker.kubelet.logs import LogFormatter, LogOptions

_CHUNK = 64 * 1024
# A follower looks this often; inotify would save nothing that a person notices.
_POLL_SECONDS = 0.1


async def read_log(
    threads: FileThreads, log: int, options: LogOptions, is_running: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Formatted pieces of the log that is open as `log`. With `follow`, until the container has
    ended; else, or then, what the file has at that moment, however fast it grows."""
    formatter, at = LogFormatter(options), 0
    if options.tail_lines is not None:
        at = await threads.run(tail_offset, log, options.tail_lines)
    following, end = options.follow, _size(log)
    while not formatter.exhausted:
        if at < end:
            text, at = await threads.run(_piece, log, at, end, formatter)
            if text:
                yield text
        elif not following:
            return
        else:
            # What is written before the end shows in the size that is read after it.
            following, end = is_running(), _size(log)
            if following and at >= end:
                await asyncio.sleep(_POLL_SECONDS)


def _size(log: int) -> int:
    return os.fstat(log).st_size  # no I/O: the kernel has it in memory


def _piece(log: int, at: int, end: int, formatter: LogFormatter) -> tuple[bytes, int]:
    """The next piece that shows something, and where it ends. Blocks."""
    while at < end and not formatter.exhausted:
        data = os.pread(log, min(_CHUNK, end - at), at)
        if not data:
            return b"", end  # it was cut meanwhile
        at += len(data)
        if text := formatter.feed(data):
            return text, at
    return b"", at


def tail_offset(log: int, lines: int) -> int:
    """Where the last `lines` lines begin, reading blocks from the end. Blocks."""
    end = at = _size(log)
    missing = lines + 1  # the newline before the first wanted line
    while at > 0:
        start = max(at - _CHUNK, 0)
        block = os.pread(log, at - start, start)
        if at == end and not block.endswith(b"\n"):
            missing -= 1  # an unfinished last line counts as one
        number = block.count(b"\n")
        if number >= missing:
            return start + _position(block, missing) + 1
        missing -= number
        at = start
    return 0 if lines else end


def _position(block: bytes, nth: int) -> int:
    """The place of the nth newline from the end."""
    at = len(block)
    for _ in range(nth):
        at = block.rfind(b"\n", 0, at)
    return at
