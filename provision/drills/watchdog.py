"""The time limit of a fault, kept by a process of its own: `python -m ... <journal folder>`.

It ends as soon as the undo is gone. When the limit passes first (the tool was killed, the
terminal closed), it heals by the same command that a user would type.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from provision.drills.journal import Journal

POLL_SECONDS = 0.5


def main() -> int:
    journal = Journal(Path(sys.argv[1]))
    while (undo := journal.read()) is not None:
        if time.time() >= undo.deadline:
            command = [sys.executable, "-m", "muster.cli", "drill", "heal", "--name", undo.lab]
            return subprocess.run(command, check=False).returncode
        time.sleep(POLL_SECONDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
