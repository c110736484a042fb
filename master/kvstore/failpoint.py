"""Places where a crash hurts, to be struck by a test: MUSTER_FAILPOINT=wal-after-append:3

    NAME[:PASSAGE[:ACTION]]

From that passage on the action is done: `kill` ends the process as kill -9 does (nothing is
flushed, nobody is told), `panic` raises an error that nobody expects, `sleep=SECONDS` makes this
and every later passage slow. The first strike is told on stderr. Without the variable a passage
costs one comparison.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

VARIABLE = "MUSTER_FAILPOINT"
NAMES = (
    "wal-before-append",
    "wal-after-append",
    "wal-after-fsync",
    "wal-before-segment",
    "wal-after-segment",
    "wal-before-note-snapshot",
    "wal-after-note-snapshot",
    "written-before-send",
    "written-after-send",
    "apply-before",
    "apply-after",
    "snapshot-before-write",
    "snapshot-before-rename",
    "snapshot-after-rename",
    "snapshot-before-install",
    "snapshot-after-install",
    "log-before-compact",
    "log-after-compact",
    "mvcc-before-compact",
    "mvcc-after-compact",
)


class Struck(Exception):
    """What `panic` raises."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _panic() -> None:
    raise Struck(_Armed.name)


class _Armed:
    """At most one point is armed; `left` counts its passages down."""

    name = ""
    left = 0
    told = False
    act: Callable[[], None] = staticmethod(_kill)


def arm(text: str) -> None:
    """ValueError for what names no fail point or no action."""
    name, _, rest = text.partition(":")
    passage, _, action = rest.partition(":")
    if name and name not in NAMES:
        raise ValueError(f'{VARIABLE}: "{name}" is no fail point; there are {", ".join(NAMES)}')
    _Armed.name, _Armed.left, _Armed.told = name, int(passage or 1), False
    _Armed.act = staticmethod(_action(action or "kill"))


def _action(text: str) -> Callable[[], None]:
    if text == "kill":
        return _kill
    if text == "panic":
        return _panic
    verb, _, seconds = text.partition("=")
    if verb != "sleep":
        raise ValueError(f'{VARIABLE}: "{text}" is none of kill, panic, sleep=SECONDS')
    pause = float(seconds)
    return lambda: time.sleep(pause)


def hit(name: str) -> None:
    if _Armed.name == name:
        _Armed.left -= 1
        if _Armed.left <= 0:
            _strike()


def _strike() -> None:
    if not _Armed.told:
        _Armed.told = True
        sys.stderr.write(f"fail point {_Armed.name} struck\n")
        sys.stderr.flush()
    _Armed.act()
