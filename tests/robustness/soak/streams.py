"""Watch streams that live for hours: one watch or many on each, fast, slow, resumed, all judged
as responses come."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any

from kube.rpc.channel import ANY_SIZE, ChannelOptions
from kube.rpc.dial import open_channel
from kube.rpc.errors import RpcError
from kube.rpc.names import NGHTTP2
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.robustness.history import Response, Watch
from tests.robustness.members import CLIENT_PORT, Member
from tests.robustness.rpcs import event_of, watch_request
from tests.robustness.soak.window import Window
from tests.robustness.watchjudge import SessionJudge

_PROGRESS = rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())
_EVERYBODY = -1  # the watch id of a progress notification for all watches of a stream
_SILENT_SECONDS = 15.0  # a stream is told of progress more often than that
_RECORDER_SECONDS = 90.0
_BACK = 300
_OPTIONS = ChannelOptions(max_receive_bytes=ANY_SIZE, connect_seconds=1.0)


def _connect(member: Member) -> Any:
    """A channel of its own; typed for none of the generated stubs, though it serves them."""
    return open_channel(f"{member.host}:{CLIENT_PORT}", None, _OPTIONS, NGHTTP2)


@dataclass(frozen=True, slots=True)
class Pace:
    """`rests`: after so many responses nothing is read for so long. `stays`: so long it keeps a
    stream before it goes on at another member, sometimes from further back."""

    rests: tuple[int, float] | None = None
    stays: tuple[float, float] = (1e9, 1e9)


class Follower:
    """One watch over all its sessions. `next`: all before it that is wanted was delivered."""

    def __init__(self, watch: Watch, window: Window, start: int) -> None:
        self.watch = watch
        self.problems: list[str] = []
        self._window = window
        self._start = start  # 0: from now on
        self._judge: SessionJudge | None = None
        self._sessions = 0

    @property
    def next(self) -> int:
        return self._judge.next if self._judge is not None else self._start

    @property
    def live(self) -> bool:
        return self._judge is not None

    def request(self, watch_id: int, back: int) -> rpc_pb2.WatchRequest:
        """Go on where it was, or `back` revisions earlier, where they are not compacted."""
        self.leave()
        self._sessions += 1
        if self._start and back:
            self._start = max(self._window.first, self._window.asked + 1, self._start - back)
        watch = self.watch
        request = watch_request(
            watch.prefix, self._start,
            prev_kv=watch.prev_kv, puts=watch.puts, deletes=watch.deletes,
        )  # fmt: skip
        request.create_request.watch_id = watch_id
        return request

    def created(self, revision: int) -> None:
        self._start = self._start or revision + 1
        self._judge = SessionJudge(self.watch, self._start, self._window, self._window.asked)

    def take(self, response: Response) -> None:
        if self._judge is None:
            self.problems.append(f"watch {self.watch.name}: a response before it was created")
            return
        self._judge.compacted = self._window.asked
        self._judge.take(response)
        self._collect()

    def cancelled(self, compacted: int, reason: str) -> None:
        if self._judge is not None:
            self._judge.compacted = self._window.asked
            if compacted:
                self._judge.end_as_compacted(compacted)
                self._judge.next = max(self._judge.next, compacted + 1)
            else:
                self._judge.problems.append(f"cancelled: {reason}")
            self._collect()
        elif compacted:
            self._start = max(self._start, compacted + 1)
        self.leave()

    def leave(self) -> None:
        if self._judge is not None:
            self._start, self._judge = self._judge.next, None

    def _collect(self) -> None:
        assert self._judge is not None
        where = f"watch {self.watch.name}, session {self._sessions}"
        self.problems += [f"{where}: {problem}" for problem in self._judge.problems]
        self._judge.problems.clear()


class Stream:
    """One gRPC stream after the other, on connections of its own: who does not read holds nobody
    else up. `done` counts what came."""

    def __init__(
        self,
        followers: Sequence[Follower],
        members: Sequence[Member],
        window: Window,
        pace: Pace,
        rng: random.Random,
        done: Counter[str],
    ) -> None:
        self.followers = followers
        self.hurry = asyncio.Event()  # the end has come: nobody rests any more
        self._members = members
        self._window = window
        self._pace = pace
        self._rng = rng
        self._done = done
        self._open: dict[int, Follower] = {}
        self._ids = count(1)

    async def work(self) -> None:
        while True:
            member = self._rng.choice(self._members)
            channel = _connect(member)
            try:
                await self._session(rpc_pb2_grpc.WatchStub(channel))
            except (RpcError, TimeoutError):
                self._done["broken streams"] += 1
            finally:
                await channel.close()
            await asyncio.sleep(self._rng.uniform(0, 0.2))

    async def _session(self, stub: Any) -> None:
        metadata = (("hasleader", "true"),) if self._rng.random() < 0.5 else ()
        call = stub.Watch(None, metadata=metadata)
        self._open.clear()
        self._done["sessions"] += len(self.followers)
        back = self._rng.randrange(_BACK) if self._rng.random() < 0.3 else 0
        try:
            async with asyncio.timeout(_SILENT_SECONDS):
                for follower in self.followers:
                    await self._create(call, follower, back)
            await self._follow(call)
        finally:
            call.cancel()
            for follower in self.followers:
                follower.leave()

    async def _create(self, call: Any, follower: Follower, back: int) -> None:
        """With an id that was never used on this stream: those of the cancelled are not free."""
        number = next(self._ids)
        self._open[number] = follower
        await call.write(follower.request(number, back))

    async def _follow(self, call: Any) -> None:
        leave_at = monotonic() + self._rng.uniform(*self._pace.stays)
        for number in count(1):
            async with asyncio.timeout(_SILENT_SECONDS):
                response = await call.read()
            if response is None or (monotonic() > leave_at and not self.hurry.is_set()):
                return
            await self._take(call, response)
            if self._rng.random() < 0.02:
                self._done["progress requests"] += 1
                await call.write(_PROGRESS)
            if self._pace.rests and number % self._pace.rests[0] == 0:
                await self._rest(self._rng.uniform(0.3, 1.0) * self._pace.rests[1])

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.hurry.wait()

    async def _take(self, call: Any, response: rpc_pb2.WatchResponse) -> None:
        """Judged once the recorder has come as far."""
        revision = response.header.revision
        if response.watch_id == _EVERYBODY:
            await self._window.reached(revision, _RECORDER_SECONDS)
            self._done["progress"] += 1
            for follower in self._open.values():
                if follower.live:
                    follower.take(Response(0.0, revision, []))
            return
        follower = self._open[response.watch_id]
        if response.canceled:
            self._done["compacted" if response.compact_revision else "cancelled"] += 1
            follower.cancelled(response.compact_revision, response.cancel_reason)
            del self._open[response.watch_id]
            await self._create(call, follower, 0)
        elif response.created:
            follower.created(revision)
        else:
            events = [event_of(event) for event in response.events]
            self._done["events" if events else "progress"] += len(events) or 1
            reached = events[-1].mod if events else revision
            await self._window.reached(reached, _RECORDER_SECONDS)
            follower.take(Response(0.0, revision, events, fragment=response.fragment))


class Recorder:
    """The watch of everything that the history is made of."""

    def __init__(self, members: Sequence[Member], window: Window, rng: random.Random) -> None:
        self._members = members
        self._window = window
        self._rng = rng

    async def work(self) -> None:
        while True:
            member = self._rng.choice(self._members)
            channel = _connect(member)
            call = rpc_pb2_grpc.WatchStub(channel).Watch(None)
            try:
                await self._follow(call)
            except (RpcError, TimeoutError):
                pass  # go on at another member
            finally:
                call.cancel()
                await channel.close()

    async def _follow(self, call: Any) -> None:
        async with asyncio.timeout(2.0):
            await call.write(watch_request("", self._window.last + 1, prev_kv=True))
        while True:
            async with asyncio.timeout(2.0):
                response = await call.read()
            if response is None:
                return
            if response.canceled:
                self._window.problems.append(f"the recorder was cancelled: {response}")
                return
            if response.events:
                events = [event_of(event) for event in response.events]
                self._window.take(Response(monotonic(), response.header.revision, events))
