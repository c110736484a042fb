"""Measures from inside how long the turns of an event loop hold it, for tests of hostile input.

A handler or parser that works for long in one piece holds the loop: nobody else is served
meanwhile, and the watchdog ends the process at last. A test asserts that this does not happen,
without asserting on speed:

    with watched(tmp_path) as watch:            # every Python process started in here is watched
        server = start_the_component()          # any harness that hands on its environment
        ...
        loop = watch.of(server.pid)
        with loop.during() as seen:
            attack()
        assert seen.longest < 50                # yardsticks, see below
        assert seen.longest < 2 * honest.longest  # or as a ratio to an honest request's

How: `loopwatch_site/sitecustomize.py` comes into the process by PYTHONPATH and replaces the
default selector, so that it sees where a turn of the loop begins and ends. A turn's time is wall
time less the time that the thread waited for a processor (schedstat), so a crowded machine does
not change it, while a wait in the kernel counts (opening a FIFO, a disk that is slow, another
thread with the GIL). A turn may run several handlers: the longest turn is an upper bound of the
longest handler.

The unit is the yardstick: the CPU time of a fixed piece of pure Python, measured in the same
process at its start. It is about one millisecond on a usual machine, so "50 ms on the loop" is
`longest < 50` on any. Components are not changed for this and pay nothing when nobody watches.

What stalls everything at once is seen as such: a process that is stopped (SIGSTOP) or whose pages
are read from disk counts as held. Do not measure across the start of a process (imports hold).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SITE = Path(__file__).with_name("loopwatch_site")
_HEAD = struct.Struct("<dQQ")
_HOLD = struct.Struct("<dd")


@dataclass
class Seen:
    """What the loop did during a block; filled in when the block ends. Times in yardsticks."""

    turns: int = 0
    total: float = 0.0  # all turns together
    holds: tuple[float, ...] = ()  # the turns that took a third of a yardstick or more

    @property
    def longest(self) -> float:
        return max(self.holds, default=0.0)

    @property
    def share(self) -> float:
        """The part of all that the loop did which its longest turn took: 1.0 is one piece."""
        return self.longest / self.total if self.total else 0.0

    def longer_than(self, yardsticks: float) -> int:
        return sum(hold > yardsticks for hold in self.holds)


@dataclass(frozen=True)
class WatchedLoop:
    """The files that one watched loop writes."""

    stem: Path

    @property
    def yardstick_seconds(self) -> float:
        return self._head()[0]

    def _head(self) -> tuple[float, int, int]:
        yardstick, turns, held = _HEAD.unpack_from(self.stem.with_suffix(".head").read_bytes())
        return yardstick, turns, held

    @contextmanager
    def during(self) -> Iterator[Seen]:
        """Look at the turns that end in the block. End it after the attack was answered."""
        seen, began = Seen(), time.monotonic()
        size = self.stem.with_suffix(".holds").stat().st_size
        _, turns, held = self._head()
        yield seen
        yardstick, turns_after, held_after = self._head()
        seen.turns, seen.total = turns_after - turns, (held_after - held) / 1e9 / yardstick
        data = self.stem.with_suffix(".holds").read_bytes()[size:]
        found = _HOLD.iter_unpack(data[: len(data) // _HOLD.size * _HOLD.size])
        seen.holds = tuple(took / yardstick for ended, took in found if ended >= began)


@dataclass(frozen=True)
class Watch:
    directory: Path

    def of(self, pid: int) -> WatchedLoop:
        """The loop of that process, whichever thread runs it. It must have turned already."""
        found = sorted(self.directory.glob(f"{pid}-*.head"))
        assert found, f"no loop of process {pid} was seen: is its environment handed on?"
        return WatchedLoop(found[0].with_suffix(""))


@contextmanager
def watched(directory: Path) -> Iterator[Watch]:
    """Every Python process that is started in the block, and hands on its environment, is watched.

    `directory` is where they write; it must outlive them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = os.environ.get("PYTHONPATH")
    before = {"PYTHONPATH": path, "MUSTER_LOOPWATCH": os.environ.get("MUSTER_LOOPWATCH")}
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SITE), path)))
    os.environ["MUSTER_LOOPWATCH"] = str(directory)
    try:
        yield Watch(directory)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
