"""The api-server's way to the store: which member it asks, and when it turns to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from kube.rpc.channel import Channel
from kube.rpc.errors import Code, RpcError
from kube.rpc.names import GRPCIO, NGHTTP2
from kube.stubs.etcd import rpc_pb2 as pb
from master.apiserver.etcd3 import connection as etcd3
from master.apiserver.etcd3.connection import Connection
from master.apiserver.etcd3.errors import StoreUnavailable
from master.apiserver.etcd3.watch import watch_everything
from tests.component.kvstore_harness import StoreCluster, store_cluster
from tests.component.pki_fixture import Pki

KV = pb.DESCRIPTOR.services_by_name["KV"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreCluster]:
    pki = Pki.create(tmp_path_factory.mktemp("pki"))
    with store_cluster(tmp_path_factory.mktemp("store"), pki, 3) as made:
        yield made


@asynccontextmanager
async def connect(cluster: StoreCluster, transport: str = NGHTTP2) -> AsyncIterator[Connection]:
    urls = [member.client_url for member in cluster.members]
    connection = Connection(urls, cluster.client.material(), transport)
    try:
        yield connection
    finally:
        await connection.close()


async def put(channel: Channel, seconds: float) -> pb.PutResponse:
    answer: pb.PutResponse = await channel.stub(KV).Put(
        pb.PutRequest(key=b"k", value=b"v"), timeout=seconds
    )
    return answer


@pytest.mark.parametrize("transport", [NGHTTP2, GRPCIO])
async def test_who_turned_away_comes_home_with_the_watch(
    cluster: StoreCluster, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd3, "REST_SECONDS", 0.2)
    home = cluster.members[0]
    await asyncio.to_thread(cluster.make_leader, cluster.members[1])  # no election in between
    async with connect(cluster, transport) as connection:
        first = connection.channel
        home.kill()
        revision = (await connection.call("put", put)).header.revision
        assert connection.channel is not first

        async def follow() -> None:
            async for events in watch_everything(connection, revision):
                seen.extend(event.kv.mod_revision for event in events)

        seen: list[int] = []
        watching = asyncio.create_task(follow())
        async with asyncio.timeout(60):
            while revision not in seen:
                await asyncio.sleep(0.02)
        home.start()
        with pytest.raises(StoreUnavailable):
            async with asyncio.timeout(60):
                await watching
        assert connection.channel is first
        await connection.call("put", put)
        assert connection.channel is first
    cluster.wait_healthy()


async def test_a_member_that_lives_through_an_election_is_asked_again(
    cluster: StoreCluster,
) -> None:
    asked: list[Channel] = []

    async def attempt(channel: Channel, seconds: float) -> str:
        asked.append(channel)
        if len(asked) < 3:
            text = "etcdserver: request timed out, possibly due to previous leader failure"
            raise RpcError(text, Code.UNAVAILABLE)
        return "done"

    async with connect(cluster) as connection:
        first = connection.channel
        assert await connection.call("txn", attempt) == "done"
        assert asked == [first] * 3


async def test_a_member_that_failed_is_left_out_for_a_while(cluster: StoreCluster) -> None:
    asked: list[Channel] = []

    async def attempt(channel: Channel, seconds: float) -> str:
        asked.append(channel)
        if len(asked) in (1, 2, 4):
            raise RpcError("nobody there", Code.UNAVAILABLE)
        return "done"

    async with connect(cluster) as connection:
        await connection.call("txn", attempt)  # the first and the second fail
        await connection.call("txn", attempt)  # the third fails: all have, so any is asked
        assert len(set(asked[:3])) == 3
        assert asked[3] is asked[2]
        assert asked[4] is not asked[3]
