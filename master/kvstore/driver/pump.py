"""Raft's `Ready`, done in its order: send, write, apply, answer reads. Never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from master.kvstore.barrier import ReadBarrier
from master.kvstore.driver.applying import Applier
from master.kvstore.driver.disk import Disk
from master.kvstore.driver.lifecycle import Lifecycle
from master.kvstore.driver.outbox import Outbox
from master.kvstore.failpoint import hit
from master.kvstore.metrics import BACKEND_COMMIT
from master.kvstore.proposals import Proposals
from master.kvstore.raft.core import Core, ProposalDropped, Ready, Write
from master.kvstore.raft.messages import NOBODY

_COMMIT_SECONDS = 0.002  # a commit that nobody waits for is told with what else is sent until then
# Then the loop has its turn: after a start, or a pause, there may be a hundred megabytes to apply,
# and meanwhile this member should be heard of and hear of the others.
_TURN_SECONDS = 0.005
_NOTHING = Ready()


class Pump:
    """Everything that comes in during one turn of the loop is answered by one `run`. `after` is
    called when nothing is left to do, before the next one."""

    def __init__(
        self,
        core: Core,
        life: Lifecycle,
        proposals: Proposals,
        barrier: ReadBarrier,
        outbox: Outbox,
        disk: Disk,
        applier: Applier,
        after: Callable[[], None],
    ) -> None:
        self._core = core
        self._life = life
        self._proposals = proposals
        self._barrier = barrier
        self._outbox = outbox
        self._disk = disk
        self._applier = applier
        self._after = after
        self._running = False
        self._scheduled = False
        self._telling = False

    def schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_scheduled)

    def _run_scheduled(self) -> None:
        self._scheduled = False
        self.run()

    def run(self, *, tell_commits: bool = False) -> None:
        """Do everything that Raft wants done, or go on in the next turn when that is much."""
        if self._running or self._life.stopping:
            return
        self._running = True
        try:
            self._hand_over_proposals()
            until = monotonic() + _TURN_SECONDS
            while (ready := self._core.ready(tell_commits=tell_commits)) != _NOTHING:
                self._perform(ready)
                if monotonic() > until:
                    self.schedule()
                    break
            self._outbox.flush()
            self._after()
            if not self._telling and self._core.untold_commits():
                self._telling = True
                asyncio.get_running_loop().call_later(_COMMIT_SECONDS, self._tell_commits)
        except Exception as error:
            self._life.fail(error)
        finally:
            self._running = False

    def _tell_commits(self) -> None:
        """No append came that would have said it. A message of its own for each commit would
        double the messages of a client that writes one key after the other."""
        self._telling = False
        self.run(tell_commits=True)

    def _hand_over_proposals(self) -> None:
        core, proposals = self._core, self._proposals
        while core.leader != NOBODY and (batch := proposals.next_batch()):
            try:
                if proposals.changes_membership(batch):
                    core.propose_config(batch[0][1])
                else:
                    core.propose([payload for _, payload in batch])
            except ProposalDropped:
                proposals.put_back(batch)
                return  # the next tick tries again
            proposals.handed_over(batch, core.term)

    def _perform(self, ready: Ready) -> None:
        for message in ready.messages:
            self._outbox.send(message)
        if ready.write is not None:
            # What is sent leaves first: the disk's thread would take the interpreter meanwhile.
            self._outbox.flush()
            self._write(ready.write)
            # If it is done already: others wait for the word of it, nobody for what comes now.
            self._outbox.flush()
        if ready.committed:
            with BACKEND_COMMIT.time():
                self._applier.apply(ready.committed)
        for read in ready.reads:
            self._barrier.answered(read, monotonic())

    def _write(self, write: Write) -> None:
        self._disk.write(write, lambda: self._written(write))

    def _written(self, write: Write) -> None:
        if self._life.stopping:
            return
        hit("written-before-send")
        for message in write.messages:
            self._outbox.send(message)
        hit("written-after-send")
        self._core.advance(write)
        if not self._running:
            self.run()
