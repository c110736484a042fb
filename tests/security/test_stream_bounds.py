"""Streams into and out of containers: who does not read makes the other side wait, not store."""

from __future__ import annotations

import asyncio
import ctypes
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import grpc
import pytest

from kube.stubs.cri import api_pb2 as cri
from kube.stubs.cri import api_pb2_grpc
from tests.component.kubelet_harness import until
from tests.component.runtime_harness import Lab, container, lab, process_alive

pytestmark = pytest.mark.root
MiB = 1 << 20
_V5 = ("v5.channel.k8s.io",)
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def node(images: Path) -> Iterator[Lab]:
    with lab(images) as made:
        yield made


@pytest.fixture(scope="module")
def sandbox(node: Lab) -> str:
    return node.run_sandbox(node.pod("streams"))


def memory(pid: int, what: str = "VmHWM:") -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(what)[2].split()[0]) * 1024


def runtime_pid(node: Lab) -> int:
    assert node.process is not None
    return node.process.pid


def _socket_inside(netns: str) -> socket.socket:
    """A socket belongs to the network namespace in which it was made."""
    made: list[socket.socket] = []

    def make() -> None:
        with Path(f"/run/netns/{netns}").open() as handle:
            assert _libc.setns(handle.fileno(), 0x40000000) == 0  # this thread only
        made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


@asynccontextmanager
async def stream(node: Lab, url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    connector = aiohttp.TCPConnector(socket_factory=lambda _: _socket_inside(node.name))
    closing = aiohttp.ClientWSTimeout(ws_close=1.0)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.ws_connect(url, protocols=_V5, timeout=closing, max_msg_size=0) as ws,
    ):
        try:
            yield ws
        finally:
            if (own := ws.get_extra_info("socket")) is not None:
                with suppress(OSError):  # what was not sent yet is not to be waited for
                    own.shutdown(socket.SHUT_RDWR)


def exec_url(node: Lab, container_id: str, *command: str, stdin: bool = False) -> str:
    request = cri.ExecRequest(container_id=container_id, cmd=command, stdin=stdin, stdout=True)
    return node.runtime.Exec(request, timeout=60).url


def processes(node: Lab, container_id: str, mark: str) -> list[int]:
    """Of the container, whose command line has the mark."""
    listed = node.exec(container_id, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    return [1] * listed.stdout.decode(errors="replace").count(mark)


async def flood(ws: aiohttp.ClientWebSocketResponse, most: int) -> int:
    """Send until nothing goes any more; how much went."""
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sent < most:
            await ws.send_bytes(b"\0" + b"x" * 65535)
            sent += 65536

    task = asyncio.create_task(send())
    quiet, last = 0, -1
    while not task.done() and quiet < 20:  # unchanged for some looks in a row
        await asyncio.sleep(0.05)
        quiet, last = (quiet + 1 if sent == last else 0), sent
    if task.done():
        await task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return sent


async def test_a_command_that_does_not_read_makes_its_client_wait(node: Lab, sandbox: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000", name="deaf"))
    before = memory(runtime_pid(node))
    async with stream(node, exec_url(node, container_id, "sleep", "1234", stdin=True)) as ws:
        assert await flood(ws, 256 * MiB) < 64 * MiB
        assert memory(runtime_pid(node)) < before + 32 * MiB
        assert node.exec(container_id, "echo", "others").stdout == b"others\n"
        assert processes(node, container_id, "sleep 1234")

    async def ended() -> bool:
        return not await asyncio.to_thread(processes, node, container_id, "sleep 1234")

    await until("the command ends with its client", ended)


async def test_a_container_that_does_not_read_its_stdin(node: Lab, sandbox: str) -> None:
    config = container("sleep", "1000", name="stdin")
    config.stdin = True
    container_id = node.run(sandbox, config)
    pid_file = node.state / "containers" / container_id / "conmon.pid"
    conmon = int(pid_file.read_text())
    before, conmon_before = memory(runtime_pid(node)), memory(conmon)
    request = cri.AttachRequest(container_id=container_id, stdin=True, stdout=True)
    async with stream(node, node.runtime.Attach(request, timeout=60).url) as ws:
        assert await flood(ws, 256 * MiB) < 64 * MiB
        assert memory(runtime_pid(node)) < before + 32 * MiB
        assert memory(conmon) < conmon_before + 16 * MiB
    assert process_alive(conmon)
    assert node.exec(container_id, "echo", "alive").stdout == b"alive\n"


async def test_a_client_that_does_not_read_makes_the_command_wait(node: Lab, sandbox: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000", name="loud"))
    before = memory(runtime_pid(node))
    script = "while :; do dd if=/dev/zero bs=64k count=16 2>/dev/null; echo . >> /written; done"
    url = exec_url(node, container_id, "sh", "-c", script)
    async with stream(node, url) as ws:
        await ws.receive()  # it has begun
        quiet, last = 0, b""
        while quiet < 20:
            await asyncio.sleep(0.05)
            now = (await asyncio.to_thread(node.exec, container_id, "wc", "-l", "/written")).stdout
            quiet, last = (quiet + 1 if now == last else 0), now
        assert int(last.split()[0]) < 64  # MiB: what sockets and queues hold
        assert memory(runtime_pid(node)) < before + 32 * MiB


async def test_a_message_has_its_bound(node: Lab, sandbox: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000", name="big"))
    before = memory(runtime_pid(node))
    async with stream(node, exec_url(node, container_id, "cat", stdin=True)) as ws:
        with pytest.raises((ConnectionError, aiohttp.ClientError)):
            for _ in range(4):
                await ws.send_bytes(bytes(64 * MiB))
            raise ConnectionError  # all of it went; it is refused none the less
        answer = await ws.receive()
        assert answer.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED,
                               aiohttp.WSMsgType.ERROR)  # fmt: skip
    assert memory(runtime_pid(node)) < before + 48 * MiB


async def test_captured_output_has_one_bound_for_all(node: Lab, sandbox: str) -> None:
    """As many probes as there are containers may print without end, at the same time."""
    container_id = node.run(sandbox, container("sleep", "1000", name="chatty"))
    options = [("grpc.max_receive_message_length", 64 * MiB)]
    before = memory(runtime_pid(node))
    script = "dd if=/dev/zero bs=1M count=40; dd if=/dev/zero bs=1M count=40 >&2; exit 3"
    request = cri.ExecSyncRequest(container_id=container_id, cmd=["sh", "-c", script], timeout=60)
    with grpc.insecure_channel(f"unix:{node.socket}", options) as channel:
        stub = api_pb2_grpc.RuntimeServiceStub(channel)
        answers = [stub.ExecSync.future(request, timeout=90) for _ in range(16)]
        done = [answer.result() for answer in answers]
    assert {answer.exit_code for answer in done} == {3}
    sizes = [len(answer.stdout) + len(answer.stderr) for answer in done]
    assert max(sizes) <= 16_000_000
    # What is kept, and the same once more as messages on their way.
    assert memory(runtime_pid(node)) < before + 300 * MiB
    again = node.exec(container_id, "echo", "room again")
    assert again.stdout == b"room again\n"


async def test_an_honest_stream_is_whole(node: Lab, sandbox: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000", name="honest"))
    received = bytearray()
    async with stream(node, exec_url(node, container_id, "cat", stdin=True)) as ws:

        async def send() -> None:
            for number in range(200):
                await ws.send_bytes(b"\0" + bytes([number]) * 65535)
            await ws.send_bytes(b"\xff\0")

        sending = asyncio.create_task(send())
        async for message in ws:
            if message.data[0] == 1:
                received += message.data[1:]
            elif message.data[0] == 3:
                assert json.loads(message.data[1:])["status"] == "Success"
        await sending
    assert bytes(received) == b"".join(bytes([number]) * 65535 for number in range(200))
