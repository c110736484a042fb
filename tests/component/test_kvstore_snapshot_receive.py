"""A member takes in the leader's state: in step with its log, also while its disk is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore import state
from master.kvstore.cluster import bootstrap_identity
from master.kvstore.config import Config
from master.kvstore.errors import StoreError
from master.kvstore.machine import Machine
from master.kvstore.main import recover
from master.kvstore.node import Node
from master.kvstore.raft.messages import Entry, Membership, Message, MessageType, SnapshotMeta
from master.kvstore.wal.log import Wal
from master.kvstore.wal.snapshot import SnapshotDirectory
from master.kvstore.wal.writer import DiskWriter

CLUSTER = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3"
TERM = 5


def config(directory: Path) -> Config:
    return Config.from_argv(
        ["--name", "a", "--data-dir", str(directory / "a"), "--initial-cluster", CLUSTER,
         "--initial-advertise-peer-urls", "http://127.0.0.1:1"]
    )  # fmt: skip


def recovered(directory: Path, on_fatal: Callable[[BaseException], None]) -> tuple[Node, Wal]:
    flags = config(directory)
    new = bootstrap_identity(flags.name, flags.initial_cluster, flags.initial_cluster_token)
    return recover(flags, on_fatal, new)


@asynccontextmanager
async def member(directory: Path, gate: threading.Event) -> AsyncIterator[Node]:
    """A follower whose disk waits for `gate`. It fails the test when the member had to stop."""
    fatal: list[BaseException] = []
    node, wal = recovered(directory, fatal.append)
    writer = DiskWriter(
        wal,
        asyncio.get_running_loop(),
        on_fatal=fatal.append,
        observe_seconds=lambda seconds: None,
    )
    writer.submit(lambda wal: gate.wait(10), lambda: None)  # type: ignore[arg-type, return-value]  # the bool is dropped
    node.start(writer)
    try:
        yield node
    finally:
        gate.set()
        await node.stop()
    assert fatal == []


def put(key: bytes) -> bytes:
    return command_pb2.Command(put=rpc_pb2.PutRequest(key=key)).SerializeToString()


def leaders_snapshot(directory: Path, node: Node) -> tuple[Message, bytes]:
    """What the leader has at entry 40, and the message that announces it."""
    machine = Machine()
    machine.members = node.machine.members
    for number in range(5):
        machine.apply(put(b"k%d" % number))
    voters = frozenset(machine.members.all)
    meta = SnapshotMeta(40, TERM, Membership(voters))
    path = SnapshotDirectory(directory / "leader").save(
        meta, state.plan(state.capture(machine, meta)).pages()
    )
    leader = min(voters - {node.id})
    announced = Message(MessageType.SNAPSHOT, node.id, leader, TERM, snapshot=meta)
    return announced, path.read_bytes()


def received(node: Node, message: Message, content: bytes) -> Path:
    assert message.snapshot is not None
    incoming = node.inbox.incoming(message.sender, message.snapshot)
    incoming.add(content)
    return incoming.finish()


async def test_a_snapshot_that_comes_while_the_disk_is_busy(tmp_path: Path) -> None:
    """Entries behind it are applied to its state, not to the one that it replaces."""
    gate = threading.Event()
    async with member(tmp_path, gate) as node:
        message, content = leaders_snapshot(tmp_path, node)
        node.inbox.receive([Message(MessageType.HEARTBEAT, node.id, message.sender, TERM)])
        await node.inbox.receive_snapshot(message, received(node, message, content))
        behind = Message(
            MessageType.APPEND, node.id, message.sender, TERM, index=40, log_term=TERM, commit=41,
            entries=(Entry(TERM, 41, put(b"behind")),),
        )  # fmt: skip
        node.inbox.receive([behind])
        store = node.machine.mvcc
        assert store.get(b"k4") is not None
        gate.set()
        async with asyncio.timeout(60):
            while store.get(b"behind") is None:
                await asyncio.sleep(0.01)
        assert node.applied == 41
    again, wal = recovered(tmp_path, lambda error: None)
    wal.close()
    assert again.applied == 40
    assert again.core.log.last_index == 41
    assert [path.suffix for path in (tmp_path / "a" / "member" / "snap").iterdir()] == [".snap"]


@pytest.mark.parametrize("what", ["damaged", "another", "old"])
async def test_a_snapshot_that_cannot_be_used_changes_nothing(tmp_path: Path, what: str) -> None:
    gate = threading.Event()
    gate.set()
    async with member(tmp_path, gate) as node:
        message, content = leaders_snapshot(tmp_path, node)
        if what == "old":
            await node.inbox.receive_snapshot(message, received(node, message, content))
            store = node.machine.mvcc
            await node.inbox.receive_snapshot(message, received(node, message, content))
            assert node.machine.mvcc is store
        else:
            if what == "damaged":
                content = content[:5000] + b"?" + content[5001:]
            else:
                announced = SnapshotMeta(41, TERM, Membership())
                message = Message(
                    MessageType.SNAPSHOT, node.id, message.sender, TERM, snapshot=announced
                )
            with pytest.raises(StoreError, match="snapshot refused"):
                await node.inbox.receive_snapshot(message, received(node, message, content))
            assert node.machine.mvcc.get(b"k4") is None
            assert node.applied == 0
    left = {path.suffix for path in (tmp_path / "a" / "member" / "snap").iterdir()}
    assert left <= {".snap"}, "what was refused is gone"
