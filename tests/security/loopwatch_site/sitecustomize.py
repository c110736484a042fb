"""Watches the event loop of the Python process that finds this on its path; see `loopwatch.py`.

Python imports a module of this name at its start. Nothing beside the standard library is used.
"""

import mmap
import os
import selectors
import struct
import threading
import time
from pathlib import Path

HEAD = struct.Struct("<dQQ")  # the yardstick in seconds; turns; nanoseconds held by all turns
HOLD = struct.Struct("<dd")  # when the turn ended (monotonic seconds); seconds that it held
TURNS = struct.Struct("<QQ")
TURNS_AT = 8
# Shorter turns are counted only. A third of a yardstick on a usual machine.
LEAST_SECONDS = 0.0003


def yardstick():
    """CPU seconds that a fixed piece of Python takes here: about a millisecond."""
    took = []
    for _ in range(5):
        began = time.thread_time()
        value = 1
        for _ in range(32_000):
            value = value * 3 & 0xFFFF
        took.append(time.thread_time() - began)
    return min(took)


class Log:
    """The two files of one loop: a header that is written in place, and the holds."""

    def __init__(self, directory):
        stem = directory / f"{os.getpid()}-{threading.get_native_id()}"
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC
        self._holds = os.open(stem.with_suffix(".holds"), flags)
        with stem.with_suffix(".head").open("w+b") as file:
            file.truncate(mmap.PAGESIZE)
            self._map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        HEAD.pack_into(self._map, 0, yardstick(), 0, 0)
        self._turns = self._nanoseconds = 0

    def turn(self, ended, held):
        self._turns += 1
        self._nanoseconds += int(held * 1e9)
        TURNS.pack_into(self._map, TURNS_AT, self._turns, self._nanoseconds)
        if held >= LEAST_SECONDS:
            os.write(self._holds, HOLD.pack(ended, held))


class WatchedSelector(selectors.DefaultSelector):
    """A turn of the loop is what happens between two of its waits."""

    _log = _waits = None
    _began = _waited = 0.0

    def select(self, timeout=None):
        if self._log is None:
            self._log = Log(Path(os.environ["MUSTER_LOOPWATCH"]))
            thread = threading.get_native_id()
            self._waits = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        else:
            now = time.monotonic()
            held = now - self._began - (self._queued() - self._waited)
            self._log.turn(now, max(held, 0.0))
        try:
            return super().select(timeout)
        finally:
            self._waited = self._queued()
            self._began = time.monotonic()

    def _queued(self):
        """Seconds for which this thread could have run and had no processor."""
        return int(os.pread(self._waits, 64, 0).split()[1]) / 1e9

    def close(self):
        super().close()
        if self._waits is not None:
            os.close(self._waits)


if os.environ.get("MUSTER_LOOPWATCH"):
    selectors.DefaultSelector = WatchedSelector
