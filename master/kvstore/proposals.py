"""What this member's clients have proposed and wait for."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections import deque
from typing import Protocol

from google.protobuf.message import DecodeError

from kube.stubs.etcd import command_pb2
from master.kvstore.errors import (
    NestedTooDeeply,
    RequestTimeout,
    StoreError,
    TimeoutDueToLeaderFail,
    TooManyRequests,
)
from master.kvstore.machine import Applied

_MAX_PENDING = 20_000
_MAX_BATCH_BYTES = 4 << 20
# The first two fields of a command: tag, number, tag, member.
_HEAD = struct.Struct("<BQBQ")
_ID, _ORIGIN = 0x09, 0x11


class Outcome(Protocol):
    """Where the outcome of a command goes: a future, or a `Reply` of the transport."""

    def done(self) -> bool: ...

    def set_result(self, applied: Applied, /) -> None: ...

    def set_exception(self, error: StoreError, /) -> None: ...


class _Pending:
    __slots__ = ("outcome", "term")

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.term = 0  # in which it was handed to Raft; 0: not yet


class Proposals:
    """Numbers commands, gathers them into batches, and gives each its outcome."""

    def __init__(self, origin: int) -> None:
        self.failed = 0
        self._origin = origin
        # Numbers of different runs of a member must not meet: an entry of the last run may
        # still be applied in this one.
        self._next = secrets.randbits(62)
        self._pending: dict[int, _Pending] = {}
        self._deadlines: deque[tuple[float, int]] = deque()
        self._queue: deque[tuple[int, bytes]] = deque()
        self._changes: set[int] = set()  # numbers of membership changes: each a batch of its own

    def __len__(self) -> int:
        return len(self._pending)

    def add(
        self, command: command_pb2.Command, deadline: float, *, membership: bool = False
    ) -> asyncio.Future[Applied]:
        outcome: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        number = self.add_encoded(checked(command.SerializeToString()), deadline, outcome)
        if membership:
            self._changes.add(number)
        return outcome

    def add_encoded(self, command: bytes, deadline: float, outcome: Outcome) -> int:
        """`command` without its number and origin, which go in front of it. The number."""
        if len(self._pending) >= _MAX_PENDING:
            raise TooManyRequests
        self._next = number = (self._next + 1) & ((1 << 63) - 1)
        self._pending[number] = _Pending(outcome)
        self._deadlines.append((deadline, number))
        self._queue.append((number, _HEAD.pack(_ID, number, _ORIGIN, self._origin) + command))
        return number

    def next_batch(self) -> list[tuple[int, bytes]]:
        """What to propose next. Those whose clients have given up are dropped."""
        batch: list[tuple[int, bytes]] = []
        size = 0
        while self._queue and size < _MAX_BATCH_BYTES:
            number, payload = self._queue[0]
            if number in self._changes and batch:
                break
            self._queue.popleft()
            if number in self._pending:
                batch.append((number, payload))
                size += len(payload)
            if number in self._changes:
                break
        return batch

    def changes_membership(self, batch: list[tuple[int, bytes]]) -> bool:
        return batch[0][0] in self._changes

    def put_back(self, batch: list[tuple[int, bytes]]) -> None:
        """Raft would not take it: nothing of it was appended, so it may be proposed again."""
        self._queue.extendleft(reversed(batch))

    def handed_over(self, batch: list[tuple[int, bytes]], term: int) -> None:
        for number, _ in batch:
            self._pending[number].term = term

    def settle(self, applied: Applied) -> None:
        if applied.command.origin != self._origin:
            return
        number = applied.command.id
        pending = self._pending.pop(number, None)
        if self._changes:
            self._changes.discard(number)
        if pending is not None and not pending.outcome.done():
            pending.outcome.set_result(applied)

    def term_applied(self, term: int) -> None:
        """An entry of `term` was applied: what an older term had appended comes no more.

        It may still have reached a leader of this term late, so its outcome is unknown.
        """
        for number, pending in list(self._pending.items()):
            if 0 < pending.term < term:
                self._fail(number, TimeoutDueToLeaderFail())

    def expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            self._fail(self._deadlines.popleft()[1], RequestTimeout())

    def _fail(self, number: int, error: StoreError) -> None:
        pending = self._pending.pop(number, None)
        self._changes.discard(number)
        if pending is not None and not pending.outcome.done():
            self.failed += 1
            pending.outcome.set_exception(error)

    def fail_all(self, error: StoreError) -> None:
        for number in list(self._pending):
            self._fail(number, error)


def checked(command: bytes) -> bytes:
    """The decoder takes a hundred levels, and a command is one more than the request in it: an
    entry that no member can decode would stop them all, for ever."""
    try:
        command_pb2.Command.FromString(command)
    except DecodeError:
        raise NestedTooDeeply from None
    return command
