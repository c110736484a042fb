"""Start: Ctrl-C ends us with one sentence also before and after there is a command to catch it."""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def run() -> int:
    signal.signal(signal.SIGINT, _leave)
    from muster.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = main()
    # Nothing is left to interrupt, and Python's own end would answer with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code == INTERRUPTED:
        # Python remembers an interrupt that came within exec() (as when a dataclass is made), and
        # would end itself by the signal in place of the exit code, though it was caught.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    raise SystemExit(run())
