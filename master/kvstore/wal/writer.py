"""What is written to the disk, one job after the other.

Raft hands out one write at a time and gathers everything that arrives meanwhile into the next:
that is the group commit. The event loop does not wait for a slow disk: a thread does. But where
an fdatasync takes less time than waking a thread and being woken by it, the loop makes small
writes itself.
"""

from __future__ import annotations

import asyncio
import errno
import queue
import threading
from collections.abc import Callable
from time import monotonic

from kube.component.log import get_logger
from master.kvstore.wal.log import Wal

log = get_logger(__name__)

_RETRY_SECONDS = 0.5
_SEAL_AFTER_SECONDS = 0.2
_FULL = (errno.ENOSPC, errno.EDQUOT)
# A disk is quick when a write typically takes no longer. One write that takes long counts for as
# many as bring the mean below this again.
_QUICK_SECONDS = 0.001
_MEAN_OF = 8

Job = Callable[[Wal], None]


def _seal(wal: Wal) -> None:
    try:
        wal.seal()
    except OSError as error:
        log.warning("log not sealed", error=str(error))


class DiskWriter:
    """Runs jobs in order. A full disk is waited out; any other failure is reported as fatal, and
    nothing is written after it."""

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
        self._typical_seconds = 4 * _QUICK_SECONDS  # until it has shown that it is quick
        self._failed = False
        self._waiting = 0  # jobs that the thread has and the loop does not know to be done
        self._sealing: asyncio.TimerHandle | None = None
        self._written_at = 0.0
        self._jobs: queue.SimpleQueue[tuple[Job, Callable[[], None] | None] | None]
        self._jobs = queue.SimpleQueue()  # None: the end
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wal-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Callable[[], None]) -> None:
        """Run `job` on the thread, then `done` on the loop."""
        if not self._failed:
            self._waiting += 1
            self._jobs.put((job, done))

    def write(self, job: Job, done: Callable[[], None]) -> None:
        """The same for a small write: both at once where the disk is quick, and nothing else is on
        the way to it."""
        if (
            self._waiting
            or self._failed
            or self._typical_seconds > _QUICK_SECONDS
            or self._stopping.is_set()
            or self._wal.segment_is_full
        ):
            self.submit(job, done)
            return
        started = monotonic()
        try:
            job(self._wal)
        except OSError:
            self.submit(job, done)  # nothing of it counts as written: the thread sees to it
            return
        except Exception as error:
            self._failed = True
            self._on_fatal(error)
            return
        self._took(monotonic() - started)
        self._seal_later()
        done()

    def stop(self) -> None:
        """Finish what was submitted and close the log."""
        if self._sealing is not None:
            self._sealing.cancel()
        self._stopping.set()
        self._jobs.put(None)
        self._thread.join()

    # --- on the loop

    def _written(self, done: Callable[[], None]) -> None:
        """A write that nobody takes note of would hold up all that follow."""
        self._waiting -= 1
        self._seal_later()
        try:
            done()
        except Exception as error:
            self._on_fatal(error)

    def _seal_later(self) -> None:
        self._written_at = self._loop.time()
        if self._sealing is None:
            self._sealing = self._loop.call_later(_SEAL_AFTER_SECONDS, self._seal_if_quiet)

    def _seal_if_quiet(self) -> None:
        self._sealing = None
        quiet = self._loop.time() - self._written_at
        if quiet < _SEAL_AFTER_SECONDS:
            self._sealing = self._loop.call_later(_SEAL_AFTER_SECONDS - quiet, self._seal_if_quiet)
        elif not self._waiting and not self._failed:
            self._waiting += 1
            self._jobs.put((_seal, None))

    def _sealed(self) -> None:
        self._waiting -= 1

    # --- on the thread

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            if done is None:
                job(self._wal)
                self._loop.call_soon_threadsafe(self._sealed)
            elif not self._attempt(job, done):
                return
        if not self._failed:
            _seal(self._wal)
        self._wal.close()

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
            self._took(monotonic() - started)
            self._set_full(False)
            self._loop.call_soon_threadsafe(self._written, done)
            return True

    # --- on either, for only one of them has a job at a time

    def _took(self, seconds: float) -> None:
        self._typical_seconds += (seconds - self._typical_seconds) / _MEAN_OF
        self._observe(seconds)

    def _set_full(self, full: bool) -> None:
        if full and not self.full:
            log.error("disk is full: writes are refused until there is space")
        elif self.full and not full:
            log.info("disk has space again")
        self.full = full
