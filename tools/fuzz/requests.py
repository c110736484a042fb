"""What clients send, random and damaged, to every method of a member's services.

Nothing but the documented errors may come; what validation let through must be applied; and
afterwards the state is sound: a second machine that applies the same log, and one that a snapshot
restores, are equal to it, and a watch of everything has seen every change, once, in order.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from google.protobuf.message import DecodeError, Message

from kube.rpc.errors import RpcError
from kube.rpc.service import CallContext, Method, Shape
from kube.stubs.etcd import rpc_pb2
from master.kvstore import state
from master.kvstore.cluster import bootstrap_identity, members_of
from master.kvstore.config import Config
from master.kvstore.machine import Machine
from master.kvstore.main import recover
from master.kvstore.node import Node
from master.kvstore.services import all_methods
from master.kvstore.wal.log import Wal
from master.kvstore.wal.snapshot import SnapshotDirectory
from master.kvstore.wal.writer import DiskWriter
from tools.fuzz.damage import damaged, in_memory
from tools.fuzz.essence import essence
from tools.fuzz.messages import filled, nested

_INPUTS = 100
_CALL_SECONDS = 50.0  # beside many processes, at the lowest priority
_TURNS = 50  # of the loop, for a call that may rightly wait for ever
_MEMBER_URL = "http://127.0.0.1:2380"
_EVERYTHING = rpc_pb2.WatchRequest(
    create_request=rpc_pb2.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=1)
)
_PROGRESS = rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())
_OF_ALL = -1  # the number of no watch: progress of the whole stream
_TOKEN = "metadata that no token is"
Event = tuple[bytes, int, bool]  # key, revision, deleted


def episode(seed: int) -> int:
    rng = random.Random(seed)
    logging.disable(logging.CRITICAL)
    with in_memory() as scratch, _repeatable(rng), asyncio.Runner() as runner:
        return runner.run(_conversation(rng, scratch))


@contextmanager
def _repeatable(rng: random.Random) -> Iterator[None]:
    """Ids and tokens from the seed."""
    with patch.multiple(
        secrets,
        randbits=rng.getrandbits,
        token_bytes=lambda size=16: rng.randbytes(size),
        token_urlsafe=lambda size=16: rng.randbytes(size).hex(),
    ):
        yield


class _Disk:
    """The log's writer on the loop itself: a thread would make each run another one."""

    full = False

    def __init__(self, wal: Wal) -> None:
        self._wal = wal

    def submit(self, job: Callable[[Wal], None], done: Callable[[], None]) -> None:
        job(self._wal)
        asyncio.get_running_loop().call_soon(done)

    def write(self, job: Callable[[Wal], None], done: Callable[[], None]) -> None:
        job(self._wal)
        done()

    def stop(self) -> None:
        self._wal.close()


async def _conversation(rng: random.Random, scratch: Path) -> int:
    failures: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: failures.append(context.get("exception") or RuntimeError(context))
    )
    node = await _leader(scratch, failures)
    methods = list(all_methods(node))
    often = [_WEIGHTS.get(method.service.rpartition(".")[2], 1) for method in methods]
    watching = _Everything(next(m for m in methods if m.name == "Watch"))
    tokens = [_TOKEN]
    if rng.random() < 0.3:
        await _with_auth(methods, tokens)
    tried = 0
    while tried < _INPUTS and len(node.machine.members.voters) == 1:
        try:
            await _call(rng, node, rng.choices(methods, often)[0], tokens)
        finally:
            for failure in failures:  # first the cause: a call to a member that stopped hangs
                raise failure
        tried += 1
    events = await watching.end()
    await node.sweeper.swept()
    _judge(node, events, scratch / "judged")
    await node.stop()
    assert not failures, failures
    return tried


async def _leader(scratch: Path, failures: list[BaseException]) -> Node:
    """The only member of a cluster, elected."""
    config = Config.from_argv(
        ["--name", "m", "--data-dir", str(scratch / "m"), "--snapshot-count", "1000000",
         "--quota-backend-bytes", "100000", "--bcrypt-cost", "4"]
    )  # fmt: skip
    identity = bootstrap_identity("m", config.initial_cluster, "fuzz")
    node, wal = recover(config, failures.append, identity)
    node.disk.begin(cast(DiskWriter, _Disk(wal)))
    while not node.is_leader:
        node.tick()
        await asyncio.sleep(0)
    return node


async def _with_auth(methods: list[Method], tokens: list[str]) -> None:
    """Users, and permissions asked for from now on."""
    by_name = {method.name: method.handler for method in methods}
    context = CallContext()
    for name, role in (("root", "root"), ("ann", "reader")):
        await by_name["UserAdd"](rpc_pb2.AuthUserAddRequest(name=name, password=name), context)
        await by_name["RoleAdd"](rpc_pb2.AuthRoleAddRequest(name=role), context)
        grant = rpc_pb2.AuthUserGrantRoleRequest(user=name, role=role)
        await by_name["UserGrantRole"](grant, context)
    await by_name["AuthEnable"](rpc_pb2.AuthEnableRequest(), context)
    for name in ("root", "root", "ann"):
        request = rpc_pb2.AuthenticateRequest(name=name, password=name)
        tokens.append((await by_name["Authenticate"](request, context)).token)


async def _call(rng: random.Random, node: Node, method: Method, tokens: list[str]) -> None:
    metadata: dict[str, str | bytes] = {}
    if rng.random() < 0.8:
        metadata[rng.choice(("token", "authorization"))] = rng.choice(tokens)
    if rng.random() < 0.1:
        metadata["hasleader"] = "true"
    wanted = [
        request
        for _ in range(1 if method.shape in _UNARY else rng.randint(1, 4))
        if (request := _parsed(method, _input(rng, method, node))) is not None
    ]
    if not wanted:
        return  # the transport refuses what is no message
    context = CallContext(metadata)
    try:
        if method.name in _MAY_WAIT:
            await _for_a_while(_answers(method, wanted, context))
        else:
            async with asyncio.timeout(_CALL_SECONDS):
                await _answers(method, wanted, context)
    except RpcError as error:
        assert error.message, f"{method.path}: {error!r} says nothing"


_WEIGHTS = {"KV": 12, "Lease": 4, "Watch": 4}
_UNARY = (Shape.UNARY, Shape.SERVER_STREAM)
# A lock may be held, an election may be somebody else's, an observer waits for the next leader, a
# watch for the next event.
_MAY_WAIT = ("Lock", "Campaign", "Observe", "Watch")


def _input(rng: random.Random, method: Method, node: Node) -> bytes:
    if rng.random() < 0.01:
        return rng.randbytes(rng.randrange(60))
    data = filled(rng, method.request(), _known(node)).SerializeToString()
    if method.name == "Txn" and rng.random() < 0.05:
        data = nested(rng, data, rng.choice((1, 2, 20, 49, 60)))
    if method.name in ("Put", "Txn") and rng.random() < 0.002:
        value = bytes(rng.choice((50_000, 1_600_000)))
        data = rpc_pb2.PutRequest(key=b"k", value=value).SerializeToString()
    return damaged(rng, data) if rng.random() < 0.4 else data


def _known(node: Node) -> list[int]:
    """Revisions, leases and members: numbers that a request may mean."""
    revision = node.machine.mvcc.revision
    ids = (*node.machine.lessor.leases, *node.machine.members.all)
    return [revision - 2, revision, revision + 1, *ids]


def _parsed(method: Method, data: bytes) -> Message | None:
    try:
        return method.request.FromString(data)
    except DecodeError:
        return None


async def _answers(method: Method, wanted: list[Message], context: CallContext) -> None:
    """Every answer must have a form on the wire."""
    if method.shape is Shape.UNARY:
        _encoded(await method.handler(wanted[0], context))
        return
    requests = wanted[0] if method.shape is Shape.SERVER_STREAM else _stream(wanted)
    async for answer in method.handler(requests, context):
        for one in answer if isinstance(answer, list) else [answer]:
            _encoded(one)


def _encoded(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


async def _stream(wanted: list[Message]) -> AsyncIterator[Message]:
    for request in wanted:
        yield request
        await asyncio.sleep(0)


async def _for_a_while(call: Any) -> None:
    task = asyncio.ensure_future(call)
    for _ in range(_TURNS):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


class _Everything:
    """A watch from the first revision on, open all the time."""

    def __init__(self, method: Method) -> None:
        self._ended = asyncio.Event()
        self._events: list[Event] = []
        self._reading = asyncio.create_task(self._read(method))

    async def _requests(self) -> AsyncIterator[Message]:
        yield _EVERYTHING
        await self._ended.wait()
        yield _PROGRESS  # answered when all has been told

    async def _read(self, method: Method) -> None:
        async with aclosing(method.handler(self._requests(), CallContext())) as answers:
            async for answer in answers:
                for one in answer if isinstance(answer, list) else [answer]:
                    said = rpc_pb2.WatchResponse.FromString(_encoded(one))
                    self._take(said)
                    if said.watch_id == _OF_ALL:
                        return

    def _take(self, said: rpc_pb2.WatchResponse) -> None:
        assert not said.canceled, said.cancel_reason
        for event in said.events:
            deleted = event.type == event.DELETE
            self._events.append((event.kv.key, event.kv.mod_revision, deleted))

    async def end(self) -> list[Event]:
        self._ended.set()
        async with asyncio.timeout(_CALL_SECONDS):
            await self._reading
        return self._events


def _judge(node: Node, events: list[Event], directory: Path) -> None:
    """Repeat the log, and go through a snapshot: nothing may differ."""
    again = Machine()
    again.members = members_of(node.identity)
    expected: list[Event] = []
    for entry in node.core.log.entries:
        if entry.data:
            applied = again.apply(entry.data)
            expected += [
                (change.record.key, change.record.mod, change.record.tombstone)
                for change in applied.changes
            ]
    while again.mvcc.sweep(7):  # at once, where the member did it between everything else
        pass
    assert events == expected, "the watch has not seen what happened"
    held = essence(node.machine)
    assert essence(again) == held, "the log says something else"
    captured = node.snapshots.capture()
    path = SnapshotDirectory(directory).save(captured.meta, state.plan(captured).pages())
    meta, restored = state.load(path)
    assert meta == captured.meta
    assert essence(restored) == held, "the snapshot holds something else"
