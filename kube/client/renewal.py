"""A thread with an event loop of its own, for what keeps the lead however busy the process is.

A thousand reconciles that wait for the one loop of the process, and the calls that they make,
must not delay the renewal of the lease by which all of them work. The interpreter gives every
thread a turn within milliseconds; the connections are the thread's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable

from kube.component.log import get_logger

log = get_logger(__name__)
# The lead of a process whose own loop stands still is worth nothing: the watchdog's limit.
HUNG_SECONDS = 30.0
_LOOK_SECONDS = 1.0


class Hung(Exception):
    """The loop of the process does not turn: somebody else should lead."""


class Renewal:
    """Runs `keep` in a thread until it raises or is stopped. Made in the process's own loop."""

    def __init__(self, keep: Callable[[], Awaitable[None]], name: str, last_seconds: float) -> None:
        self._keep, self._name, self._last_seconds = keep, name, last_seconds
        self._home = asyncio.get_running_loop()
        # Done with its error when `keep` failed, never otherwise.
        self.ended: asyncio.Future[None] = self._home.create_future()
        self._heard = threading.Event()
        self._turned = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._gone = asyncio.Event()
        # A daemon: a process that must end does not wait for it.
        threading.Thread(target=self._run, name=f"renew {name}", daemon=True).start()

    async def stop(self) -> None:
        """End the thread; nothing of it runs any more afterwards."""
        self._stopping = True
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
        await self._gone.wait()

    # -- the thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as failure:
            error = failure
        self._home.call_soon_threadsafe(self._finish, error)
        if error is not None and not self._heard.wait(self._last_seconds):
            # Another may lead from now on, and our loop does not even hear of it.
            log.error("ends at once: the lead is lost", lease=self._name, error=str(error))
            os._exit(1)

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._stopping:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_home(), name="watch the main loop")
            try:
                await self._keep()
            except Exception as error:
                raise _Ended(error) from error

    async def _watch_home(self) -> None:
        while time.monotonic() - self._turned < HUNG_SECONDS:
            self._home.call_soon_threadsafe(self._turn)
            await asyncio.sleep(_LOOK_SECONDS)
        raise _Ended(Hung(f"the main loop has not turned for {HUNG_SECONDS:.0f} s"))

    # -- the process's own loop

    def _turn(self) -> None:
        self._turned = time.monotonic()

    def _finish(self, error: BaseException | None) -> None:
        self._heard.set()
        self._gone.set()
        if error is not None and not self.ended.done():
            self.ended.set_exception(_cause(error))


class _Ended(Exception):
    """Carries what ended the renewal out of its task group."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _cause(error: BaseException) -> BaseException:
    if isinstance(error, BaseExceptionGroup):
        return next((_cause(one) for one in error.exceptions), error)
    return error.cause if isinstance(error, _Ended) else error
