"""The one thread that writes to the disk. The event loop never waits for it.

Raft hands out one write at a time and gathers everything that arrives meanwhile into the next:
that is the group commit.
"""

from __future__ import annotations

import asyncio
import errno
import queue
import threading
from collections.abc import Callable
from time import monotonic

from master.kvstore.wal.log import Wal
from muster.component.log import get_logger

log = get_logger(__name__)

_RETRY_SECONDS = 0.5
_SEAL_AFTER_SECONDS = 0.2
_FULL = (errno.ENOSPC, errno.EDQUOT)

Job = Callable[[Wal], None]


class DiskWriter:
    """Runs jobs in order. A full disk is waited out; any other failure is reported as fatal."""

    def __init__(
        self,
        wal: Wal,
        loop: asyncio.AbstractEventLoop,
        *,
        on_fatal: Callable[[BaseException], None],
        observe_seconds: Callable[[float], None],
    ) -> None:
        self.full = False
        self._wal = wal
        self._loop = loop
        self._on_fatal = on_fatal
        self._observe = observe_seconds
        self._jobs: queue.SimpleQueue[tuple[Job, Callable[[], None]] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wal-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Callable[[], None]) -> None:
        """Run `job` on the thread, then `done` on the loop."""
        self._jobs.put((job, done))

    def stop(self) -> None:
        """Finish what was submitted and close the log."""
        self._stopping.set()
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        sealed = True
        while True:
            try:
                item = self._jobs.get(timeout=None if sealed else _SEAL_AFTER_SECONDS)
            except queue.Empty:
                sealed = self._seal()
                continue
            if item is None:
                break
            if not self._attempt(*item):
                return
            sealed = False
        self._seal()
        self._wal.close()

    def _seal(self) -> bool:
        try:
            self._wal.seal()
        except OSError as error:
            log.warning("log not sealed", error=str(error))
        return True

    def _attempt(self, job: Job, done: Callable[[], None]) -> bool:
        while True:
            started = monotonic()
            try:
                job(self._wal)
            except OSError as error:
                if error.errno not in _FULL:
                    self._loop.call_soon_threadsafe(self._on_fatal, error)
                    return False
                self._set_full(True)
                if self._stopping.wait(_RETRY_SECONDS):
                    return True  # never acknowledged, so nobody counts on it
                continue
            except Exception as error:
                self._loop.call_soon_threadsafe(self._on_fatal, error)
                return False
            self._observe(monotonic() - started)
            self._set_full(False)
            self._loop.call_soon_threadsafe(self._tell, done)
            return True

    def _tell(self, done: Callable[[], None]) -> None:
        """A write that nobody takes note of would hold up all that follow."""
        try:
            done()
        except Exception as error:
            self._on_fatal(error)

    def _set_full(self, full: bool) -> None:
        if full and not self.full:
            log.error("disk is full: writes are refused until there is space")
        elif self.full and not full:
            log.info("disk has space again")
        self.full = full
