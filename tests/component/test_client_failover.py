"""The client and informer over real sockets: failover, safe retries, resuming watches.

The servers here are small Resources services over one shared history, so that a test can
stop one, break one, or compact the history, and see what the client makes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from kube.api.core import ConfigMap
from kube.api.meta import ObjectMeta
from kube.client.channel import MAX_RECEIVE_BYTES, SERVER_KEEPALIVE, ServerList
from kube.client.client import Client, status_error
from kube.client.informer import Informer
from kube.machinery import errors
from kube.machinery.scheme import decode, encode
from kube.rpc.errors import Code, RpcError
from kube.rpc.listen import Listen
from kube.rpc.metrics import PrometheusObserver
from kube.rpc.names import TRANSPORTS
from kube.rpc.service import CallContext, methods_of
from kube.rpc.transports import rpc_server
from kube.stubs.resources import resources_pb2 as pb


@dataclass
class History:
    """What every server of the test serves: all events since the start, and the state."""

    events: list[tuple[int, str, ConfigMap]] = field(default_factory=list)
    compacted: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def version(self) -> int:
        return self.events[-1][0] if self.events else 1

    def state(self) -> dict[str, ConfigMap]:
        state: dict[str, ConfigMap] = {}
        for _, kind, obj in self.events:
            if kind == "DELETED":
                state.pop(obj.metadata.name, None)
            else:
                state[obj.metadata.name] = obj
        return state

    async def write(self, kind: str, name: str, uid: str = "", **data: str) -> ConfigMap:
        version = str(self.version + 1)
        meta = ObjectMeta(name=name, namespace="default", uid=uid, resource_version=version)
        obj = ConfigMap(metadata=meta, data=data)
        async with self.changed:
            self.events.append((self.version + 1, kind, obj))
            self.changed.notify_all()
        return obj


class Service:
    def __init__(self, history: History) -> None:
        self.history = history
        self.calls: list[str] = []
        self.fail_next: list[errors.StatusError] = []

    def _maybe_fail(self, name: str) -> None:
        self.calls.append(name)
        if self.fail_next:
            raise _failure(self.fail_next.pop(0))

    async def get(self, request: Any, context: CallContext) -> pb.Object:
        self._maybe_fail("Get")
        obj = self.history.state().get(request.ref.name)
        if obj is None:
            raise _failure(errors.not_found("configmaps", "", request.ref.name))
        return pb.Object(json=encode(obj))

    async def list(self, request: Any, context: CallContext) -> pb.ListResponse:
        self._maybe_fail("List")
        items = [encode(obj) for obj in self.history.state().values()]
        return pb.ListResponse(items=items, resource_version=str(self.history.version))

    async def create(self, request: Any, context: CallContext) -> pb.Object:
        self._maybe_fail("Create")
        obj = decode(ConfigMap, request.json)
        return pb.Object(json=encode(await self.history.write("ADDED", obj.metadata.name)))

    async def update(self, request: Any, context: CallContext) -> pb.Object:
        self._maybe_fail("Update")
        return pb.Object(json=request.json)

    async def delete(self, request: Any, context: CallContext) -> pb.Object:
        self._maybe_fail("Delete")
        return pb.Object()

    async def watch(self, request: Any, context: CallContext) -> AsyncIterator[pb.WatchEvent]:
        self._maybe_fail("Watch")
        await context.send_headers()
        since = int(request.resource_version)
        if since < self.history.compacted:
            status = errors.Expired("too old resource version").status()
            yield pb.WatchEvent(type="ERROR", object=msgspec.json.encode(status))
            return
        sent = 0
        while True:
            async with self.history.changed:
                while len(self.history.events) <= sent:
                    await self.history.changed.wait()
            for version, kind, obj in self.history.events[sent:]:
                if version > since:
                    yield pb.WatchEvent(type=kind, object=encode(obj))
            sent = len(self.history.events)


def _failure(error: errors.StatusError) -> RpcError:
    failed = RpcError(error.message, error.code)
    failed.trailers = ((errors.TRAILER, errors.encode_status(error)),)
    return failed


@dataclass
class Served:
    service: Service
    address: str
    stack: contextlib.AsyncExitStack

    async def stop(self) -> None:
        await self.stack.aclose()


class Net:
    """Servers and clients that all use one transport."""

    def __init__(self, transport: str) -> None:
        self.transport = transport

    @contextlib.asynccontextmanager
    async def serving(self, history: History) -> AsyncIterator[Served]:
        service = Service(history)
        async with contextlib.AsyncExitStack() as stack:
            (port,) = await stack.enter_async_context(
                rpc_server(
                    self.transport,
                    methods_of(pb.DESCRIPTOR.services_by_name["Resources"], service),
                    [Listen("127.0.0.1", 0)],
                    PrometheusObserver(),
                    max_receive_bytes=MAX_RECEIVE_BYTES,
                    keepalive=SERVER_KEEPALIVE,
                )
            )
            yield Served(service, f"127.0.0.1:{port}", stack)

    def client(
        self, servers: list[str], timeout: float = 10.0, connect_timeout: float = 1.0
    ) -> Client:
        return Client(ServerList(servers, None, connect_timeout, self.transport), timeout)


@pytest.fixture(params=TRANSPORTS)
def net(request: pytest.FixtureRequest) -> Net:
    return Net(request.param)


async def until(condition: Any, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_reads_move_to_the_next_server_and_stay_there(net: Net) -> None:
    history = History()
    await history.write("ADDED", "a", k="1")
    async with (
        net.serving(history) as one,
        net.serving(history) as two,
        net.client([one.address, two.address]) as client,
    ):
        assert (await client.get(ConfigMap, "a", "default")).data == {"k": "1"}
        await one.stop()
        assert (await client.get(ConfigMap, "a", "default")).data == {"k": "1"}
        assert (await client.get(ConfigMap, "a", "default")).data == {"k": "1"}
    assert (one.service.calls, two.service.calls) == (["Get"], ["Get", "Get"])


async def test_a_dead_first_server_is_skipped_quickly(net: Net) -> None:
    history = History()
    await history.write("ADDED", "a")
    async with net.serving(history) as dead:
        await dead.stop()
        async with (
            net.serving(history) as two,
            net.client([dead.address, two.address], connect_timeout=100.0) as client,
        ):
            async with asyncio.timeout(60):  # a refusal is not waited out
                await client.get(ConfigMap, "a", "default")


async def test_an_unavailable_answer_is_retried_elsewhere_for_reads_only(net: Net) -> None:
    history = History()
    await history.write("ADDED", "a")
    async with (
        net.serving(history) as one,
        net.serving(history) as two,
        net.client([one.address, two.address]) as client,
    ):
        one.service.fail_next = [errors.ServiceUnavailable("store is away")]
        await client.get(ConfigMap, "a", "default")
        assert two.service.calls == ["Get"]
        # A create may have happened: the caller must decide, not the client.
        two.service.fail_next = [errors.ServiceUnavailable("store is away")]
        fresh = ConfigMap(metadata=ObjectMeta(name="b", namespace="default"))
        with pytest.raises(errors.ServiceUnavailable, match="store is away"):
            await client.create(fresh)
        assert "Create" not in one.service.calls
        await client.create(fresh)
        assert one.service.calls[-1] == "Create"


@pytest.mark.parametrize(("version", "tries"), [("7", 2), ("", 1)])
async def test_an_update_is_retried_only_with_a_resource_version(
    net: Net, version: str, tries: int
) -> None:
    history = History()
    async with net.serving(history) as one, net.client([one.address]) as client:
        one.service.fail_next = [errors.ServiceUnavailable("store is away")]
        meta = ObjectMeta(name="a", namespace="default", resource_version=version)
        outcome = contextlib.nullcontext() if tries == 2 else pytest.raises(errors.StatusError)
        with outcome:
            await client.update(ConfigMap(metadata=meta))
        assert one.service.calls == ["Update"] * tries


async def test_errors_arrive_typed_with_their_details(net: Net) -> None:
    async with net.serving(History()) as one, net.client([one.address]) as client:
        with pytest.raises(errors.NotFound) as caught:
            await client.get(ConfigMap, "gone", "default")
    assert caught.value.message == 'configmaps "gone" not found'
    assert caught.value.details is not None
    assert caught.value.details.name == "gone"


async def test_no_server_at_all_is_one_clear_error(net: Net) -> None:
    async with net.serving(History()) as dead:
        await dead.stop()
    async with net.client([dead.address]) as client:
        with pytest.raises(errors.ServiceUnavailable, match=dead.address):
            await client.list(ConfigMap)


async def test_a_client_that_is_closed_while_it_looks_for_its_server_gives_up_at_once() -> None:
    net = Net("nghttp2")
    async with net.serving(History()) as dead:
        await dead.stop()
    client = net.client([dead.address])
    asking = asyncio.create_task(client.get(ConfigMap, "a", "default"))
    await asyncio.sleep(0.2)  # it is waiting to try again
    await client.close()
    async with asyncio.timeout(60):
        with pytest.raises(errors.ServiceUnavailable):
            await asking


async def test_who_goes_on_with_a_closed_client_opens_no_connection(net: Net) -> None:
    async with net.serving(History()) as one:
        client = net.client([one.address])
        await client.list(ConfigMap)
        await client.close()
        with pytest.raises(errors.ServiceUnavailable, match="closed"):
            await client.list(ConfigMap)
        assert one.service.calls == ["List"]


_ASKED_IN_EVERY_TURN = """
import asyncio, socket
from kube.client.channel import NoServer, ServerList

async def main():
    with socket.socket() as refusing:  # bound, not listening
        refusing.bind(("127.0.0.1", 0))
        servers = ServerList([f"127.0.0.1:{refusing.getsockname()[1]}"], None, connect_timeout=0.5)
        asking = []
        for _ in range(200):
            asking.append(asyncio.create_task(servers.ready()))
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        await servers.close()
    assert {type(outcome) for outcome in outcomes} == {NoServer}, outcomes

asyncio.run(main())
"""


def test_who_asks_just_when_a_dial_failed_waits_as_all_others_do() -> None:
    """With one server that refuses and a caller in every turn of the loop, one hits that moment.

    It asked again and again without ever letting the loop run: the process lived on and did
    nothing. On a slow machine, whose turns are long, a kubelet met it with no help. In a process
    of its own, because nothing inside can end such a loop.
    """
    subprocess.run([sys.executable, "-c", _ASKED_IN_EVERY_TURN], check=True, timeout=60)


async def test_the_informer_follows_and_resumes_on_another_server_without_a_list(net: Net) -> None:
    history = History()
    await history.write("ADDED", "a")
    seen: list[tuple[str, str]] = []
    async with (
        net.serving(history) as one,
        net.serving(history) as two,
        net.client([one.address, two.address]) as client,
    ):
        informer = Informer(client, ConfigMap)
        informer.add_handler(lambda kind, old, new: seen.append((kind, (new or old).metadata.name)))
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        await until(lambda: "Watch" in one.service.calls)
        await one.stop()
        await history.write("ADDED", "b")
        await history.write("DELETED", "a")
        await until(lambda: set(informer.store) == {"default/b"})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert two.service.calls == ["Watch"]


async def test_the_informer_lists_again_when_its_version_expired_and_reports_the_difference(
    net: Net,
) -> None:
    history = History()
    await history.write("ADDED", "a")
    await history.write("ADDED", "b")
    seen: list[tuple[str, str]] = []
    async with (
        net.serving(history) as one,
        net.serving(history) as two,
        net.client([one.address, two.address]) as client,
    ):
        informer = Informer(client, ConfigMap)
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        await until(lambda: "Watch" in one.service.calls)
        informer.add_handler(lambda kind, old, new: seen.append((kind, (new or old).metadata.name)))
        await history.changed.acquire()  # nothing is delivered while the server goes
        await one.stop()
        history.changed.release()
        await history.write("DELETED", "a")
        await history.write("MODIFIED", "b", k="2")
        await history.write("ADDED", "c")
        history.compacted = history.version
        await until(lambda: set(informer.store) == {"default/b", "default/c"})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert seen == [
        ("ADDED", "a"), ("ADDED", "b"),  # what was known when the handler came
        ("DELETED", "a"), ("MODIFIED", "b"), ("ADDED", "c"),
    ]  # fmt: skip


async def test_an_object_made_anew_in_an_unwatched_moment_is_two_events(net: Net) -> None:
    history = History()
    await history.write("ADDED", "a")
    seen: list[tuple[str, str]] = []
    async with net.serving(history) as one, net.client([one.address]) as client:
        informer = Informer(client, ConfigMap)

        def note(kind: str, old: ConfigMap | None, new: ConfigMap | None) -> None:
            found = new or old
            assert found is not None
            seen.append((kind, found.metadata.uid))

        informer.add_handler(note)
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await history.write("DELETED", "a")
        await history.write("ADDED", "a", uid="second")
        history.compacted = history.version
        task = asyncio.create_task(informer.run())
        await until(lambda: len(seen) == 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert seen == [("ADDED", ""), ("DELETED", ""), ("ADDED", "second")]


async def test_a_watch_that_is_refused_again_and_again_backs_off(net: Net) -> None:
    history = History()
    async with net.serving(history) as one, net.client([one.address]) as client:
        informer = Informer(client, ConfigMap)
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        await until(lambda: "Watch" in one.service.calls)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        one.service.fail_next = [errors.Forbidden("no")] * 1000
        one.service.calls.clear()
        loop = asyncio.get_running_loop()
        began = loop.time()
        task = asyncio.create_task(informer.run())
        await until(lambda: one.service.calls.count("Watch") >= 2)
        await asyncio.sleep(1.5)  # the time over which attempts are counted, at least
        attempts, seconds = one.service.calls.count("Watch"), loop.time() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert attempts <= 8 * seconds


async def test_a_call_that_is_not_answered_in_time_is_repeated_elsewhere(net: Net) -> None:
    history = History()
    await history.write("ADDED", "a")
    async with (
        net.serving(history) as one,
        net.serving(history) as two,
        blackhole(one.address) as hole,
        net.client([hole.address, two.address]) as client,
    ):
        await client.get(ConfigMap, "a", "default")
        hole.silent = True
        await client.with_timeout(2.0).get(ConfigMap, "a", "default")
        assert two.service.calls == ["Get"]


async def test_a_renewal_gets_through_although_its_server_fell_silent(net: Net) -> None:
    history = History()
    async with (
        net.serving(history) as one,
        net.serving(history) as two,
        blackhole(one.address) as hole,
        net.client([hole.address, two.address], timeout=100.0) as client,
    ):
        meta = ObjectMeta(name="a", namespace="default", resource_version="1")
        await client.update(ConfigMap(metadata=meta))
        hole.silent = True
        async with asyncio.timeout(60):  # the time of the call is not waited out
            await client.update(ConfigMap(metadata=meta))
        assert two.service.calls == ["Update"]


async def test_a_silent_server_is_noticed_by_its_unanswered_pings(net: Net) -> None:
    """A machine without power sends no reset: here a proxy that swallows everything."""
    history = History()
    await history.write("ADDED", "a")
    async with (
        net.serving(history) as one,
        net.serving(history) as two,
        blackhole(one.address) as hole,
        net.client([hole.address, two.address]) as client,
    ):
        informer = Informer(client, ConfigMap)
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        await until(lambda: "Watch" in one.service.calls)
        hole.silent = True
        await history.write("ADDED", "b")
        await until(lambda: "default/b" in informer.store)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Hole:
    address: str
    silent: bool = False


@contextlib.asynccontextmanager
async def blackhole(target: str) -> AsyncIterator[Hole]:
    """A TCP proxy that can stop passing bytes while it keeps its connections open."""
    hole = Hole("")
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not hole.silent:
                    writer.write(data)
                    await writer.drain()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = target.rsplit(":", 1)
        onward = await asyncio.open_connection(host, int(port))
        both = [
            asyncio.create_task(pump(reader, onward[1])),
            asyncio.create_task(pump(onward[0], writer)),
        ]
        tasks.update(both)
        try:
            await asyncio.gather(*both, return_exceptions=True)
        finally:
            writer.close()
            onward[1].close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    hole.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield hole
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_status_codes_without_a_status_still_become_typed() -> None:
    error = RpcError("no", Code.PERMISSION_DENIED)
    assert isinstance(status_error(error), errors.Forbidden)
