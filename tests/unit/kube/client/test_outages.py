"""Leaders and heartbeats over an outage of the api-server, against a stand-in for its client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kube.api.coordination import Lease
from kube.client.client import Client
from kube.client.leader import LeaderElector, LeaseLost
from kube.machinery import errors
from worker.kubelet.node.heartbeat import EARLY_STARTS, Heartbeat, Starts


class OneLease(Client):
    """Keeps a single Lease; answers nothing while it is `down`."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.down = False
        self.writes: list[str] = []

    def with_timeout(self, timeout: float) -> Client:
        return self

    def apart(self, timeout: float) -> Client:
        return self

    async def close(self) -> None:
        return

    def _found(self) -> Lease:
        if self.down:
            raise errors.ServiceUnavailable("down")
        if self.lease is None:
            raise errors.NotFound("no lease")
        return self.lease

    async def get(self, *asked: Any) -> Any:
        return self._found()

    async def create(self, obj: Any, field_manager: str = "") -> Any:
        if self.down:
            raise errors.ServiceUnavailable("down")
        self.lease = obj
        self.writes.append("create")
        return obj

    async def update(self, obj: Any) -> Any:
        self._found()
        self.lease = obj
        self.writes.append("update")
        return obj

    async def patch(self, *asked: Any, **named: Any) -> Any:
        found = self._found()
        spec = msgspec.convert(msgspec.to_builtins(found.spec) | asked[2]["spec"], type(found.spec))
        self.lease = msgspec.structs.replace(found, spec=spec)
        self.writes.append("patch")
        return self.lease


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_leader_over_an_outage_stops_and_stands_again() -> None:
    client, began, ended = OneLease(), [], []

    async def work() -> None:
        began.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    elector = LeaderElector(client, "x", "me", 60, 0.2, 0.01)
    leading = asyncio.create_task(elector.run(work))
    await until(lambda: began)
    client.down = True
    await until(lambda: ended)
    assert not elector.leading
    client.down = False
    await until(lambda: len(began) == 2)
    assert elector.leading
    assert not leading.done()
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)


async def test_a_leader_that_another_replaced_ends() -> None:
    client, began = OneLease(), []

    async def work() -> None:
        began.append(1)
        await asyncio.Event().wait()

    leading = asyncio.create_task(LeaderElector(client, "x", "me", 60, 30, 0.01).run(work))
    await until(lambda: began)
    client.down = True
    await asyncio.sleep(0)
    assert client.lease is not None
    spec = msgspec.structs.replace(client.lease.spec, holder_identity="another")

    async def conflict(obj: Any) -> Any:
        raise errors.Conflict("changed")

    client.update = conflict  # type: ignore[method-assign]
    client.lease, client.down = msgspec.structs.replace(client.lease, spec=spec), False
    with pytest.raises(LeaseLost, match="new holder"):
        async with asyncio.timeout(60):
            await leading


async def test_work_that_does_not_stop_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube.client.leader._STOP_SECONDS", 0.05)
    client, release = OneLease(), asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    leading = asyncio.create_task(LeaderElector(client, "x", "me", 60, 0.1, 0.01).run(stubborn))
    await until(lambda: client.lease)
    client.down = True
    with pytest.raises(LeaseLost, match="told to stop"):
        async with asyncio.timeout(60):
            await leading
    release.set()


def heartbeat(client: OneLease, root: Path) -> Heartbeat:
    return Heartbeat(client, "w1", lease_seconds=4, renew_seconds=0.01, starts=Starts(root))


async def test_a_kubelet_renews_an_existing_lease_before_it_is_registered(tmp_path: Path) -> None:
    client = OneLease()
    client.lease = Lease()
    beating = asyncio.create_task(heartbeat(client, tmp_path).run(early=True))
    await until(lambda: len(client.writes) > 2)
    assert client.writes[:2] == ["patch", "update"]
    assert client.lease.spec.holder_identity == "w1"
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_a_new_nodes_lease_is_made_once_the_node_is_there(tmp_path: Path) -> None:
    client = OneLease()
    beats = heartbeat(client, tmp_path)
    beating = asyncio.create_task(beats.run(early=True))
    await asyncio.sleep(0.05)
    assert client.writes == []
    beats.registered("uid-1")
    await until(lambda: client.writes)
    assert client.lease is not None
    assert [o.uid for o in client.lease.metadata.owner_references] == ["uid-1"]
    client.lease = None  # with its node, which was deleted
    beats.registered("uid-2")
    await until(lambda: client.lease)
    assert [o.uid for o in client.lease.metadata.owner_references] == ["uid-2"]
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


def test_a_kubelet_that_never_gets_ready_stops_looking_alive(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "root")
    assert [starts.begin() for _ in range(EARLY_STARTS + 1)][-1] > EARLY_STARTS
    starts.succeeded()
    assert starts.begin() == 1
