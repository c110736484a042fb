"""A PID namespace for a whole pod (`shareProcessNamespace`).

Unlike the others a PID namespace dies with its first process, so here a holder is needed: a tiny
init that only reaps. It is started only for pods that ask to share, and outlives this runtime.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from kube.files import mounts
from worker.runtime.errors import RuntimeFailure

_START_SECONDS = 10.0
# PID 1 of the pod: SIGCHLD stays blocked and is waited for, so that no end of a child is missed.
_INIT = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
os.write(1, b"ready")
os.close(1)
while True:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    signal.sigwait([signal.SIGCHLD])
"""


class PidNamespaces:
    def make(self, pin: Path, pid_file: Path, user: Path | None = None) -> None:
        """Start a holder and pin its namespace at `pin`. Blocks.

        With `user`, the namespace belongs to the user namespace that is pinned there.
        """
        owner = ["nsenter", f"--user={user}"] if user else []
        process = subprocess.Popen(
            [*owner, "unshare", "--pid", "--fork", "--kill-child",
             sys.executable, "-I", "-S", "-c", _INIT],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        pid_file.write_text(f"{process.pid} {start_time(process.pid)}")
        assert process.stdout is not None
        with process.stdout as pipe:
            readable, _, _ = select.select([pipe], [], [], _START_SECONDS)
            if not readable or pipe.read(5) != b"ready":
                process.kill()
                process.wait()
                raise RuntimeFailure("the holder of the pod's PID namespace did not start")
        pin.touch(mode=0o444)
        mounts.mount(f"/proc/{process.pid}/ns/pid_for_children", str(pin), "none", mounts.MS_BIND)
        # Its end is nobody's to wait for but ours while we live; see `end`.

    def end(self, pid_file: Path) -> None:
        """End the holder, and with it all that still runs in the namespace."""
        try:
            pid, started = pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return
        # A recycled pid has another start time: not ours to kill.
        if start_time(int(pid)) == started:
            os.kill(int(pid), signal.SIGKILL)
            _reap(int(pid))


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _reap(pid: int) -> None:
    """Collect our child; one from before our restart belongs to the machine's init."""
    deadline = time.monotonic() + 1.0
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline and os.waitpid(pid, os.WNOHANG)[0] == 0:
            time.sleep(0.01)
