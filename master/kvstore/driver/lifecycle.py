"""Whether this member goes on, and the tasks that end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from master.kvstore.errors import MemberRemoved, Stopped, StoreError


class Waiting(Protocol):
    """Clients that wait for something: for the outcome of a proposal, for a read."""

    def fail_all(self, error: StoreError, /) -> None: ...


class Lifecycle:
    """`stopping`: nothing new is begun. `failed`: besides, nobody is answered any more."""

    def __init__(
        self, on_fatal: Callable[[BaseException], None], waiting: Sequence[Waiting]
    ) -> None:
        self.stopping = False
        self.failed = False
        self._on_fatal = on_fatal
        self._waiting = waiting
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        """Run it beside everything else. If it fails, so does this member."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """What is in memory may be half of a change: from now on nothing is done to it, and
        nobody is answered from it."""
        self.failed = self.stopping = True
        self._fail_waiting()
        self._on_fatal(error)

    def leave_cluster(self) -> None:
        """This member is in the cluster no more, so somebody says who must know."""
        if not self.stopping:
            self._on_fatal(MemberRemoved())

    async def stop(self) -> None:
        self.stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        for waiting in self._waiting:
            waiting.fail_all(Stopped())
