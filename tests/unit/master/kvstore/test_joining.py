"""A member with an empty data directory asks the others who it is. A busy one is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from kube.component.failure import CannotRun
from master.kvstore import joining
from master.kvstore.cluster import ClusterInfo, bootstrap_identity, parse_initial_cluster
from master.kvstore.config import Config
from master.kvstore.joining import identity_of_new_member
from master.kvstore.transport import frames

TOKEN = "test"
CONNECT_SECONDS = 0.5


def cluster_text(port: int) -> str:
    return f"m1=http://127.0.0.1:1,m2=http://127.0.0.1:{port}"


def config(directory: Path, port: int) -> Config:
    return Config.from_argv(
        [
            "--name", "m1", "--data-dir", str(directory), "--initial-cluster", cluster_text(port),
            "--initial-advertise-peer-urls", "http://127.0.0.1:1", "--initial-cluster-token", TOKEN,
        ]
    )  # fmt: skip


@asynccontextmanager
async def another_member(
    answer: Callable[[ClusterInfo], Awaitable[ClusterInfo]],
) -> AsyncIterator[int]:
    """It knows that m1 has been started before."""
    port = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await frames.read(reader)
        await frames.read(reader)
        identity = bootstrap_identity("m1", parse_initial_cluster(cluster_text(port)), TOKEN)
        told = ClusterInfo(identity.cluster_id, (), (), (identity.member_id,))
        told = await answer(told)
        writer.write(frames.encode(frames.Hello(frames.PROTOCOL, told.cluster_id, 2, 1, 1)))
        writer.write(frames.encode(frames.Response(1, True, msgspec.msgpack.encode(told))))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        server.close()
        await server.wait_closed()


async def test_who_was_started_before_is_refused_though_the_other_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, so only time can tell what it knows: starting would forget votes."""

    async def slowly(told: ClusterInfo) -> ClusterInfo:
        await asyncio.sleep(2 * CONNECT_SECONDS)
        return told

    monkeypatch.setattr(joining, "_CONNECT_FOUNDERS_SECONDS", CONNECT_SECONDS)
    async with another_member(slowly) as port:
        with pytest.raises(CannotRun, match="already been bootstrapped"):
            await identity_of_new_member(config(tmp_path, port))


async def test_a_founder_waits_for_nobody_who_is_not_there(tmp_path: Path) -> None:
    async with another_member(_unchanged) as port:
        pass
    identity = await identity_of_new_member(config(tmp_path, port))
    assert identity.member_id in {member.id for member in identity.members}


async def test_a_founder_that_was_not_there_before_starts(tmp_path: Path) -> None:
    async def of_another_cluster(told: ClusterInfo) -> ClusterInfo:
        return msgspec.structs.replace(told, cluster_id=told.cluster_id + 1)

    async with another_member(of_another_cluster) as port:
        identity = await identity_of_new_member(config(tmp_path, port))
    assert len(identity.members) == 2


async def _unchanged(told: ClusterInfo) -> ClusterInfo:
    return told
