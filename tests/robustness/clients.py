"""The clients of a run: they read, write, hold leases and compact, and note what they were told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import count
from time import monotonic
from typing import Any

from kube.rpc.errors import Code, RpcError
from tests.robustness.history import Compare, Found, Op, Run, Write
from tests.robustness.members import Member
from tests.robustness.rpcs import perform

KEYS = tuple(f"r/{number}" for number in range(6))
# The answers that say that nothing was done.
_REFUSALS = (
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
    Code.RESOURCE_EXHAUSTED,
)
_PAUSE_SECONDS = 0.02


class Clients:
    """Everybody's requests go through `do`, which keeps the history."""

    def __init__(self, run: Run, members: Sequence[Member]) -> None:
        self.run = run
        self.members = members  # changes when a member is replaced
        self.acknowledged = 0
        self.stopping = asyncio.Event()
        self._numbers = count(1)

    def operation(self, kind: str, member: Member, **fields: Any) -> Op:
        return Op(next(self._numbers), kind, member.name, 0.0, **fields)

    async def do(self, op: Op, member: Member) -> Op:
        """Perform it. What certainly never left is not noted, nor a read without an answer."""
        incarnation = member.incarnation
        op.call = monotonic()
        try:
            await perform(member.channel, op)
            op.end = monotonic()
        except RpcError as error:
            if error.code in _REFUSALS:
                op.refused, op.end = f"{error.code.label}: {error.message}", monotonic()
            elif "failed to connect" in error.message:
                op.refused = "never sent"
                return op
        except ConnectionError:
            pass
        if op.kind == "grant" and op.end is None:
            op.ttl = 0
        if incarnation == member.incarnation:
            op.incarnation = incarnation
        if op.writes or op.end is not None or op.kind in ("revoke", "compact"):
            self.run.ops.append(op)
        if op.answered and op.writes and op.succeeded:
            self.acknowledged += 1
        return op

    async def pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return


class KeyValueClient:
    """Mostly at one member, at another one after an error."""

    def __init__(self, clients: Clients, name: str, rng: random.Random) -> None:
        self._clients = clients
        self._name = name
        self._rng = rng
        self._values = count(1)
        self._known: dict[str, Found | None] = {}

    async def work(self) -> None:
        member = self._rng.choice(self._clients.members)
        while not self._clients.stopping.is_set():
            op = self._next(member)
            await self._clients.do(op, member)
            self._learn(op)
            if not op.answered or self._rng.random() < 0.05:
                member = self._rng.choice(self._clients.members)
            await self._clients.pause(self._rng.uniform(0, _PAUSE_SECONDS))

    def _next(self, member: Member) -> Op:
        make, dice = self._clients.operation, self._rng.random()
        key = self._rng.choice(KEYS)
        if dice < 0.25:
            return make("get", member, reads=[key])
        if dice < 0.30:
            return make("get", member, reads=["r/*"])
        if dice < 0.40:
            return make("stale", member, reads=[self._rng.choice((key, "r/*"))])
        if dice < 0.68:
            return make("put", member, writes=[self._write(key)])
        if dice < 0.75:
            return make("delete", member, writes=[Write(key, None)])
        if dice < 0.88:
            return make(
                "txn", member, compares=[self._compare(key)], writes=[self._write(key)], reads=[key]
            )
        return self._multi(member)

    def _multi(self, member: Member) -> Op:
        """Several keys at once, deletions among them, perhaps on a condition."""
        keys = self._rng.sample(KEYS, 3)
        writes = [
            Write(key, None) if self._rng.random() < 0.25 else self._write(key) for key in keys
        ]
        compares = [self._compare(self._rng.choice(KEYS))] if self._rng.random() < 0.4 else []
        return self._clients.operation(
            "txn", member, compares=compares, writes=writes, reads=["r/*"]
        )

    def _write(self, key: str) -> Write:
        return Write(key, f"{self._name}.{next(self._values)}")

    def _compare(self, key: str) -> Compare:
        known = self._known.get(key)
        return Compare(key, known.mod, known.value) if known is not None else Compare(key, 0)

    def _learn(self, op: Op) -> None:
        """Remember the keys that an answer told of, for comparisons."""
        if not op.answered:
            return
        for what in op.reads:
            for key in KEYS if what == "r/*" else (what,):
                self._known[key] = next((f for f in op.found if f.key == key), None)
        if op.kind in ("put", "delete"):
            write = op.writes[0]
            self._known[write.key] = (
                Found(write.key, write.value, op.revision) if write.value is not None else None
            )


class LeaseClient:
    """Grants a lease, ties two keys to it, keeps it for a while, and revokes or abandons it."""

    def __init__(self, clients: Clients, name: str, rng: random.Random) -> None:
        self._clients = clients
        self._name = name
        self._rng = rng
        self._numbers = count(1)

    async def work(self) -> None:
        while not self._clients.stopping.is_set():
            await self._hold_one()
            await self._clients.pause(0.05)

    def _anybody(self) -> Member:
        return self._rng.choice(self._clients.members)

    async def _hold_one(self) -> None:
        do, make = self._clients.do, self._clients.operation
        lease, member = self._rng.getrandbits(60) + 1, self._anybody()
        ttl = self._rng.choice((1, 1, 2))
        granted = await do(make("grant", member, lease=lease, ttl=ttl), member)
        if not granted.answered:
            return
        number = next(self._numbers)
        writes = [
            Write(f"l/{self._name}.{number}.{part}", f"{self._name}.{number}.{part}", lease)
            for part in "ab"
        ]
        await do(make("txn", member, writes=writes), member)
        for _ in range(self._rng.randrange(8)):
            await self._clients.pause(self._rng.uniform(0.1, 0.4))
            if self._clients.stopping.is_set():
                return
            member = self._anybody()
            await do(make("renew", member, lease=lease), member)
        if self._rng.random() < 0.4:
            member = self._anybody()
            await do(make("revoke", member, lease=lease), member)


class Compactor:
    """Compacts up to shortly behind what the recorder has, so that the history stays whole."""

    def __init__(self, clients: Clients, rng: random.Random) -> None:
        self._clients = clients
        self._rng = rng
        self.pause_seconds = 0.4

    async def work(self) -> None:
        while not self._clients.stopping.is_set():
            await self._clients.pause(self._rng.uniform(0.5, 1.0) * self.pause_seconds)
            recorded = recorded_revision(self._clients.run)
            target = recorded - self._rng.randrange(30)
            if target > 1:
                member = self._rng.choice(self._clients.members)
                op = self._clients.operation("compact", member, target=target)
                await self._clients.do(op, member)


def recorded_revision(run: Run) -> int:
    """The last revision that the recorder was told of."""
    for session in reversed(run.recorder.sessions):
        for response in reversed(session.responses):
            if response.events:
                return response.events[-1].mod
    return 1
