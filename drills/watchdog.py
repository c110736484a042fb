"""The end of every fault, kept by a process of its own: `python -m drills.watchdog <run folder>`.

It reads a pipe that the drill holds open. When the drill is gone (killed, its terminal closed), the
pipe ends, and what the journal still holds is undone at once; when a fault's time limit passes
while the drill still runs, that is undone too. It heals by the command that a user would type.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from drills.journal import Journal

POLL_SECONDS = 0.5
TRIES = 20
BETWEEN_TRIES_SECONDS = 5.0
READY = b"ready\n"


def main() -> int:
    journal = Journal(Path(sys.argv[1]))
    # From here on the drill may break something.
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    while not _drill_is_gone():
        left = journal.read()
        if left and time.time() >= min(undo.deadline for undo in left):
            heal(journal)
    return heal(journal)


def _drill_is_gone() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
    return bool(readable) and os.read(sys.stdin.fileno(), 1) == b""


def heal(journal: Journal) -> int:
    """Until nothing is left, as far as tries go. 0 when nothing is."""
    for _ in range(TRIES):
        left = journal.read()
        if not left:
            return 0
        command = [
            sys.executable, "-m", "muster", "drill", "heal", "--name", left[0].lab,
            "--by", "watchdog", "--run", journal.folder.name,
        ]  # fmt: skip
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode != 0:
            time.sleep(BETWEEN_TRIES_SECONDS)
    return 1 if journal.read() else 0


if __name__ == "__main__":
    raise SystemExit(main())
