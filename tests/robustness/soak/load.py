"""What happens while streams are open: writes, compactions, and leaders that come and go."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import count
from typing import Any

from kube.rpc.errors import RpcError
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.robustness.cluster import Cluster
from tests.robustness.members import Member
from tests.robustness.soak.window import Window

KEYS = tuple(f"s/{number:02}" for number in range(50))
_VALUE_BYTES = (50, 500, 4000)
_SECONDS = 2.0
_KEPT_REVISIONS = (200, 2500)  # so many are left by a compaction
_QUIET_SECONDS = (4.0, 12.0)


class Load:
    """`done` counts what was done. Only `cluster.members[0]` is ever killed: the others' memory
    is watched from the begin to the end."""

    def __init__(
        self, cluster: Cluster, window: Window, rng: random.Random, done: Counter[str]
    ) -> None:
        self.stopping = asyncio.Event()
        self._cluster = cluster
        self._window = window
        self._rng = rng
        self._done = done
        self._numbers = count(1)

    async def _pause(self, low: float, high: float) -> bool:
        """False: it is time to stop."""
        try:
            async with asyncio.timeout(self._rng.uniform(low, high)):
                await self.stopping.wait()
        except TimeoutError:
            return True
        return False

    # --- writes

    async def write(self, pause_seconds: float) -> None:
        while await self._pause(0, 2 * pause_seconds):
            keys = self._rng.sample(KEYS, 1 if self._rng.random() < 0.8 else 3)
            await self.put(keys, delete=self._rng.random() < 0.1)

    async def put(self, keys: list[str], *, delete: bool = False) -> bool:
        """In one transaction. Whether it was acknowledged; if not, nobody knows."""
        request = rpc_pb2.TxnRequest()
        for key in keys:
            if delete:
                request.success.add(
                    request_delete_range=rpc_pb2.DeleteRangeRequest(key=key.encode())
                )
            else:
                request.success.add(
                    request_put=rpc_pb2.PutRequest(key=key.encode(), value=self._value())
                )
        member = self._rng.choice(self._cluster.members)
        stub: Any = rpc_pb2_grpc.KVStub(member.channel)
        try:
            await stub.Txn(request, timeout=_SECONDS)
        except RpcError:
            self._done["failed writes"] += 1
            return False
        self._done["writes"] += 1
        return True

    def _value(self) -> bytes:
        size = self._rng.choice(_VALUE_BYTES)
        return f"{next(self._numbers)}.".encode().ljust(size, b"x")

    # --- compactions

    async def compact(self) -> None:
        while await self._pause(2.0, 6.0):
            target = self._window.last - self._rng.randrange(*_KEPT_REVISIONS)
            if target <= self._window.asked:
                continue
            self._window.asked = target
            member = self._rng.choice(self._cluster.members)
            stub: Any = rpc_pb2_grpc.KVStub(member.channel)
            try:
                await stub.Compact(rpc_pb2.CompactionRequest(revision=target), timeout=_SECONDS)
            except RpcError:
                self._done["failed compactions"] += 1
            else:
                self._done["compactions"] += 1

    # --- leaders

    async def change_leaders(self) -> None:
        changes = (self._move, self._move, self._pause_leader, self._cut_leader, self._kill_first)
        while await self._pause(*_QUIET_SECONDS):
            before = await self._cluster.leader()
            await self._rng.choice(changes)(before)
            if await self._cluster.leader() is not before:
                self._done["leader changes"] += 1

    async def _move(self, leader: Member) -> None:
        others = [member for member in self._cluster.members if member is not leader]
        await self._cluster.move_leader(self._rng.choice(others))

    async def _pause_leader(self, leader: Member) -> None:
        leader.pause()
        await asyncio.sleep(self._rng.uniform(0.7, 3.0))
        leader.resume()

    async def _cut_leader(self, leader: Member) -> None:
        self._cluster.cut([leader], [m for m in self._cluster.members if m is not leader])
        await asyncio.sleep(self._rng.uniform(1.0, 3.0))
        self._cluster.reconnect_all()

    async def _kill_first(self, _: Member) -> None:
        victim = self._cluster.members[0]
        self._done["kills"] += 1
        self._cluster.kill(victim)
        await asyncio.sleep(self._rng.uniform(0, 1.0))
        self._cluster.start_again(victim)
        await self._cluster.wait_serving(60, [victim])
