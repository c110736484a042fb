"""Reads a container's log file, from its tail, and follows it while the container lives.

The reading and the parsing are done in threads: a container decides how long its lines are and how
many there are of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable

from kube.files.threads import FileThreads
from worker.kubelet.cri.logs import LogFormatter, LogOptions

_CHUNK = 64 * 1024
# A follower looks this often; inotify would save nothing that a person notices.
_POLL_SECONDS = 0.1
_POLLS_A_LOOK = 5


async def read_log(
    threads: FileThreads,
    log: int,
    options: LogOptions,
    is_running: Callable[[], bool],
    successor: Callable[[int], int] | None = None,
) -> AsyncIterator[bytes]:
    """Formatted pieces of the log that is open as `log`. With `follow`, until the container has
    ended; else, or then, what the file has at that moment, however fast it grows.

    A follower goes on in the file that `successor` opens, once rotation has made one (else -1).
    """
    formatter, at = LogFormatter(options), 0
    if options.tail_lines is not None:
        at = await threads.run(tail_offset, log, options.tail_lines)
    succession = _Succession(log, successor if options.follow else None)
    following, end = options.follow, _size(log)
    try:
        while not formatter.exhausted:
            if at < end:
                text, at = await threads.run(_piece, succession.log, at, end, formatter)
                if text:
                    yield text
            elif succession.step(_size(succession.log) > end):
                at, end = 0, _size(succession.log)
            elif not following:
                return
            else:
                # What is written before the end shows in the size that is read after it.
                following = is_running()
                if not following or succession.due():
                    await threads.run(succession.look)
                end = _size(succession.log)
                if following and at >= end and not succession.found:
                    await asyncio.sleep(_POLL_SECONDS)
    finally:
        succession.close()


class _Succession:
    """The file that is being read, and its successor once rotation has made one."""

    def __init__(self, log: int, successor: Callable[[int], int] | None) -> None:
        self.log = log
        self._first, self._successor = log, successor
        self._next = -1
        self._polls = 0

    @property
    def found(self) -> bool:
        return self._next >= 0

    def due(self) -> bool:
        """Rotation is rare: one poll in some looks for it."""
        self._polls += 1
        return self._polls % _POLLS_A_LOOK == 0

    def look(self) -> None:
        """Find a successor. Blocks. The runtime writes to it before it gets the name, so what the
        old file has by then is all that it will ever have."""
        if self._successor is not None and not self.found:
            self._next = self._successor(self.log)

    def step(self, grown: bool) -> bool:
        """Go on to the successor, if there is one and the old file is read to its end."""
        if not self.found or grown:
            return False
        self._close_log()
        self.log, self._next = self._next, -1
        return True

    def close(self) -> None:
        self._close_log()
        if self.found:
            os.close(self._next)

    def _close_log(self) -> None:
        if self.log != self._first:  # that one is the caller's
            os.close(self.log)


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
