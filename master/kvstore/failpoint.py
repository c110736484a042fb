"""Places where a crash hurts, to be struck by a test: MUSTER_FAILPOINT=wal-after-append:3

The process ends at the third passage, as by kill -9: nothing is flushed, nobody is told. Without
the variable a passage costs one comparison.
"""

from __future__ import annotations

import os
import signal

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


class _Armed:
    """At most one point is armed; `left` counts its passages down."""

    name = ""
    left = 0


def arm(text: str) -> None:
    """`NAME` or `NAME:PASSAGES`. ValueError for a name that is no fail point."""
    name, _, passages = text.partition(":")
    if name and name not in NAMES:
        raise ValueError(f'{VARIABLE}: "{name}" is no fail point; there are {", ".join(NAMES)}')
    _Armed.name, _Armed.left = name, int(passages or 1)


def hit(name: str) -> None:
    if _Armed.name == name:
        _Armed.left -= 1
        if _Armed.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
