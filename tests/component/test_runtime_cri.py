"""A real runtime process over a real OCI runtime, conmon and CNI plugins, through its socket."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import grpc
import pytest

from kube.stubs.cri import api_pb2 as cri
from provision.images import build_all
from tests.component.runtime_harness import (
    BUSYBOX,
    Lab,
    container,
    lab,
    process_alive,
    wait_until,
)

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("images")
    build_all(out)
    return out


@pytest.fixture(scope="module")
def node(archives: Path) -> Iterator[Lab]:
    with lab(archives) as made:
        yield made


@pytest.fixture
def sandbox(node: Lab) -> str:
    return node.run_sandbox(node.pod())


def log_text(node: Lab, container_id: str) -> str:
    return Path(node.status(container_id).log_path).read_text()


def stop(node: Lab, container_id: str, timeout: int = 0) -> None:
    node.runtime.StopContainer(
        cri.StopContainerRequest(container_id=container_id, timeout=timeout), timeout=60
    )


# ---- Images


def test_loading_an_image_again_changes_nothing(node: Lab, archives: Path) -> None:
    [image] = node.load(archives / "busybox-1.tar")
    assert list(image.names) == [BUSYBOX]
    assert not image.changed


def test_an_image_that_is_here_is_not_pulled(node: Lab) -> None:
    status = node.images.ImageStatus(cri.ImageStatusRequest(image=cri.ImageSpec(image=BUSYBOX)))
    pulled = node.images.PullImage(cri.PullImageRequest(image=cri.ImageSpec(image=BUSYBOX)))
    assert pulled.image_ref == status.image.id
    assert status.image.repo_tags == [BUSYBOX]


def test_an_image_that_is_nowhere_gives_not_found_with_the_way_out(node: Lab) -> None:
    request = cri.PullImageRequest(image=cri.ImageSpec(image="muster.local/none:1"))
    with pytest.raises(grpc.RpcError) as failure:
        node.images.PullImage(request)
    assert failure.value.code() == grpc.StatusCode.NOT_FOUND
    assert "muster image load" in failure.value.details()


def test_an_archive_that_is_none_is_refused(node: Lab, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"not a tar at all")
    with pytest.raises(grpc.RpcError) as failure:
        node.load(broken)
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT


# ---- A container's life


def test_a_container_runs_in_its_pod_and_ends_with_its_code(node: Lab, sandbox: str) -> None:
    script = "echo out from $HOSTNAME; echo err >&2; cat /etc/resolv.conf; exit 7"
    container_id = node.run(sandbox, container("sh", "-c", script))
    status = node.ended(container_id)
    assert (status.exit_code, status.reason) == (7, "Error")
    assert 0 < status.created_at <= status.started_at <= status.finished_at
    lines = [line.split(" ", 3)[1:] for line in log_text(node, container_id).splitlines()]
    assert ["stdout", "F", "out from pod"] in lines
    assert ["stderr", "F", "err"] in lines
    assert ["stdout", "F", "nameserver 10.96.0.10"] in lines


def test_a_pod_has_an_address_that_answers(node: Lab, sandbox: str) -> None:
    node.run(sandbox, container("httpd", "-f", "-p", "8080", "-h", "/etc"))
    address = node.sandbox_status(sandbox).network.ip
    assert address.startswith("10.254.77.")
    curl = [
        "nsenter",
        f"--net=/run/netns/{node.name}",
        "curl",
        "-sf",
        f"http://{address}:8080/passwd",
    ]
    done = wait_until(
        "httpd answers",
        lambda: (d := subprocess.run(curl, capture_output=True)).returncode == 0 and d,
    )
    assert b"root:x:0" in done.stdout


def test_containers_of_a_pod_share_network_and_ipc_but_not_processes(
    node: Lab, sandbox: str
) -> None:
    first = node.run(
        sandbox, container("sh", "-c", "echo shared > /dev/shm/x; sleep 1000", name="a")
    )
    second = node.run(sandbox, container("sleep", "1000", name="b"))
    wait_until(
        "file in /dev/shm", lambda: node.exec(second, "cat", "/dev/shm/x").stdout == b"shared\n"
    )

    def links(container_id: str) -> list[bytes]:
        names = [f"/proc/1/ns/{kind}" for kind in ("net", "ipc", "uts", "pid")]
        return [node.exec(container_id, "readlink", name).stdout for name in names]

    assert links(first)[:3] == links(second)[:3]
    assert links(first)[3] != links(second)[3]


def test_a_pod_may_share_its_processes(node: Lab) -> None:
    config = node.pod("shared")
    config.linux.security_context.namespace_options.pid = cri.POD
    sandbox = node.run_sandbox(config)
    both = []
    for name in ("a", "b"):
        spec = container("sleep", "1000", name=name)
        spec.linux.security_context.namespace_options.pid = cri.POD
        both.append(node.run(sandbox, spec))
    wait_until("both to run", lambda: node.exec(both[0], "ps").stdout.count(b"sleep 1000") == 2)
    stop(node, both[0])
    assert node.status(both[1]).state == cri.CONTAINER_RUNNING


def test_a_privileged_container_has_the_machines_devices_and_rights(
    node: Lab, sandbox: str
) -> None:
    config = container("sh", "-c", "ls /dev; mount -t tmpfs x /mnt && echo mounted; id -u")
    config.linux.security_context.privileged = True
    config.command[-1] = "mkdir /mnt; " + config.command[-1]
    container_id = node.run(sandbox, config)
    assert node.ended(container_id).exit_code == 0
    text = log_text(node, container_id)
    assert "stdout F mounted" in text
    assert "stdout F kmsg" in text


def test_a_pod_on_the_machines_network_sees_its_interfaces_and_name(node: Lab) -> None:
    pod = node.pod("host")
    pod.linux.security_context.namespace_options.network = cri.NODE
    pod.hostname = ""
    sandbox = node.run_sandbox(pod)
    container_id = node.run(sandbox, container("sleep", "1000"))
    name = Path("/proc/sys/kernel/hostname").read_text()
    assert node.exec(container_id, "hostname").stdout.decode() == name
    links = node.exec(container_id, "ls", "/sys/class/net").stdout.split()
    assert b"eth0" not in links
    assert node.sandbox_status(sandbox).network.ip == ""


def test_the_hello_image_greets_with_its_version_and_the_pods_name(node: Lab) -> None:
    sandbox = node.run_sandbox(node.pod("hello-abc"))
    config = container()
    config.image.image = "muster.local/hello:2"
    container_id = node.run(sandbox, config)
    address = node.sandbox_status(sandbox).network.ip
    url = f"http://{address}:8080/"
    curl = ["nsenter", f"--net=/run/netns/{node.name}", "curl", "-s", url]
    answer = wait_until("hello answers", lambda: subprocess.run(curl, capture_output=True).stdout)
    assert answer == b"hello 2 from hello-abc\n"
    stop(node, container_id, timeout=20)
    # It heeded SIGTERM: 137 would be the kill after the grace period.
    assert node.status(container_id).exit_code != 137


def test_stop_gives_grace_and_then_kills(node: Lab, sandbox: str) -> None:
    kind = container("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done", name="kind")
    deaf = container("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", name="deaf")
    ids = [node.run(sandbox, spec) for spec in (kind, deaf)]
    for container_id in ids:
        # The trap is set once the loop turns.
        wait_until("loop", lambda i=container_id: b"sleep 0.1" in node.exec(i, "ps").stdout)
    stop(node, ids[0], timeout=20)
    assert node.status(ids[0]).exit_code == 3
    stop(node, ids[1], timeout=1)
    assert node.status(ids[1]).exit_code == 137
    # Once more: nothing to do, no error.
    stop(node, ids[1], timeout=1)


def test_a_container_out_of_memory_says_so(node: Lab, sandbox: str) -> None:
    config = container("sh", "-c", "head -c 100000000 /dev/zero | tail | wc -c; exit 9")
    config.linux.resources.memory_limit_in_bytes = 24 << 20
    config.linux.resources.memory_swap_limit_in_bytes = 24 << 20
    status = node.ended(node.run(sandbox, config))
    assert status.reason == "OOMKilled"


def test_limits_reach_the_kernel_and_can_be_changed(node: Lab, sandbox: str) -> None:
    config = container("sleep", "1000")
    container_id = node.run(sandbox, config)
    [stats] = node.runtime.ListContainerStats(
        cri.ListContainerStatsRequest(filter=cri.ContainerStatsFilter(id=container_id))
    ).stats
    limit = stats.memory.working_set_bytes.value + stats.memory.available_bytes.value
    assert limit == 64 << 20
    resources = cri.LinuxContainerResources(memory_limit_in_bytes=32 << 20)
    node.runtime.UpdateContainerResources(
        cri.UpdateContainerResourcesRequest(container_id=container_id, linux=resources)
    )
    stats = node.runtime.ContainerStats(cri.ContainerStatsRequest(container_id=container_id)).stats
    assert stats.memory.working_set_bytes.value + stats.memory.available_bytes.value == 32 << 20
    shown = node.status(container_id).resources.linux
    assert shown.memory_limit_in_bytes == 32 << 20


def test_user_mounts_and_read_only_root(node: Lab, sandbox: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/in").write_text("from the node")
    (tmp_path / "link").symlink_to("data")
    config = container(
        "sh", "-c", "id -u; id -G; cat /vol/in; touch /x; touch /vol/y; grep Cap /proc/self/status"
    )
    security = config.linux.security_context
    security.run_as_user.value = 1000
    security.run_as_group.value = 1001
    security.supplemental_groups.append(1002)
    security.readonly_rootfs = True
    config.mounts.add(container_path="/vol", host_path=str(tmp_path / "link"), readonly=True)
    container_id = node.run(sandbox, config)
    node.ended(container_id)
    text = log_text(node, container_id)
    assert "stdout F 1000\n" in text
    assert "1001 1002" in text
    assert "from the node" in text
    assert text.count("Read-only file system") == 2
    assert "CapEff:\t0000000000000000" in text


def test_a_mount_source_that_is_not_there_is_an_error(node: Lab, sandbox: str) -> None:
    config = container("true")
    config.mounts.add(container_path="/vol", host_path="/nonexistent-on-this-node")
    with pytest.raises(grpc.RpcError) as failure:
        node.create(sandbox, config)
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (
        node.runtime.ListContainers(
            cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox))
        ).containers
        == []
    )


def test_a_command_that_is_not_in_the_image_fails_clearly(node: Lab, sandbox: str) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        node.run(sandbox, container("/no/such/program"))
    assert "no/such/program" in failure.value.details()


def test_exec_sync_code_output_and_deadline(node: Lab, sandbox: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000"))
    done = node.exec(container_id, "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.exit_code, done.stdout, done.stderr) == (5, b"out\n", b"err\n")
    with pytest.raises(grpc.RpcError) as failure:
        node.exec(container_id, "sleep", "300", timeout=1)
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(
        "no sleep 300 left", lambda: b"sleep 300" not in node.exec(container_id, "ps").stdout
    )
    # A child that keeps the pipe open does not keep the answer back (runc itself waits for it).
    if node.oci_runtime.endswith("crun"):
        assert node.exec(container_id, "sh", "-c", "sleep 200 & echo done").stdout == b"done\n"


def test_the_log_is_reopened_after_rotation(node: Lab, sandbox: str) -> None:
    container_id = node.run(
        sandbox, container("sh", "-c", "while :; do echo tick; sleep 0.1; done")
    )
    path = Path(node.status(container_id).log_path)
    wait_until("first lines", lambda: path.exists() and path.stat().st_size)
    path.rename(path.with_suffix(".1"))
    node.runtime.ReopenContainerLog(cri.ReopenContainerLogRequest(container_id=container_id))
    wait_until("lines in the new file", lambda: path.exists() and path.stat().st_size)


def test_what_is_gone_may_be_stopped_and_removed_again(node: Lab) -> None:
    sandbox = node.run_sandbox(node.pod())
    container_id = node.run(sandbox, container("sleep", "1000"))
    for _ in range(2):
        node.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))
    assert node.sandbox_status(sandbox).state == cri.SANDBOX_NOTREADY
    assert node.status(container_id).state == cri.CONTAINER_EXITED
    for _ in range(2):
        node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
        node.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container_id))
    for call in (lambda: node.sandbox_status(sandbox), lambda: node.status(container_id)):
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert failure.value.code() == grpc.StatusCode.NOT_FOUND
    left = [m for m in node.mounts() if sandbox in m or container_id in m]
    assert left == []


def test_the_same_request_again_gives_the_same_sandbox(node: Lab) -> None:
    config = node.pod("twice")
    assert node.run_sandbox(config) == node.run_sandbox(config)


def test_events_tell_what_happens_to_containers(node: Lab) -> None:
    stream = node.runtime.GetContainerEvents(cri.GetEventsRequest())
    config = node.pod("events")
    # The subscription counts from when the server answers with the stream's metadata.
    stream.initial_metadata()
    probe = node.run_sandbox(config)
    for attempt in range(10):
        container_id = node.run(probe, container("true", name=f"short-{attempt}"))
        kinds = []
        for event in stream:
            if event.container_id != container_id:
                continue
            kinds.append(event.container_event_type)
            assert event.pod_sandbox_status.id == probe
            if event.container_event_type == cri.CONTAINER_STOPPED_EVENT:
                told = next(s for s in event.containers_statuses if s.id == container_id)
                assert told.state == cri.CONTAINER_EXITED
                break
        # In this order, also for one that has ended before its start was recorded.
        assert kinds == [
            cri.CONTAINER_CREATED_EVENT,
            cri.CONTAINER_STARTED_EVENT,
            cri.CONTAINER_STOPPED_EVENT,
        ]
    stream.cancel()


# ---- Streams


async def _websocket_exec(
    node: Lab, request: cri.ExecRequest, protocol: str, sends: Sequence[bytes | str]
) -> tuple[dict[int, bytes], str]:
    return await _websocket(node, node.runtime.Exec(request).url, protocol, sends, b"")


async def _websocket(
    node: Lab, url: str, protocol: str, sends: Sequence[bytes | str], until: bytes
) -> tuple[dict[int, bytes], str]:
    """Send, then collect what comes by channel: to the end, or until stdout has `until`."""
    received: dict[int, bytes] = {}
    # The streaming server listens in the runtime's network namespace: go there through a proxy
    # process, as the kubelet would from the same machine.
    parts = urllib.parse.urlsplit(url)
    socket_path = node.state / f"proxy-{secrets.token_hex(4)}.sock"
    proxy = subprocess.Popen(
        [
            "nsenter", f"--net=/run/netns/{node.name}",
            "python3", "-c", _PROXY, str(socket_path), str(parts.port),
        ],
    )  # fmt: skip
    try:
        wait_until("proxy listens", lambda: _listens(socket_path))
        connector = aiohttp.UnixConnector(str(socket_path))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.ws_connect(url, protocols=(protocol,), timeout=aiohttp.ClientWSTimeout(10)) as ws,
        ):
            used = ws.protocol
            for data in sends:
                if isinstance(data, str):
                    await ws.send_str(data)
                else:
                    await ws.send_bytes(data)
            async for message in ws:
                received[message.data[0]] = received.get(message.data[0], b"") + message.data[1:]
                if until and until in received.get(1, b""):
                    break
        return received, used or ""
    finally:
        proxy.kill()
        proxy.wait()


def _listens(path: Path) -> bool:
    """The path is there a moment before anybody listens."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


_PROXY = """
import asyncio, sys
async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve(r, w):
    r2, w2 = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(pump(r, w2), pump(r2, w), return_exceptions=True)
async def main():
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    await server.serve_forever()
asyncio.run(main())
"""


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
async def test_exec_streams_over_websocket(node: Lab, sandbox: str, protocol: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000"))
    request = cri.ExecRequest(
        container_id=container_id, cmd=["sh", "-c", "read x; echo got $x; echo err >&2; exit 4"],
        stdin=True, stdout=True, stderr=True,
    )  # fmt: skip
    received, used = await _websocket_exec(node, request, protocol, [b"\x00hello\n"])
    assert used == protocol
    assert received[1] == b"got hello\n"
    assert received[2] == b"err\n"
    status = json.loads(received[3])
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "4"}]


async def test_stdin_may_come_in_text_frames(node: Lab, sandbox: str) -> None:
    """As the published Python client sends it."""
    container_id = node.run(sandbox, container("sleep", "1000"))
    request = cri.ExecRequest(
        container_id=container_id, cmd=["sh", "-c", "read x; echo got $x"], stdin=True, stdout=True
    )
    received, _ = await _websocket_exec(node, request, "v4.channel.k8s.io", ["\x00hello\n"])
    assert received[1] == b"got hello\n"


async def test_the_end_of_stdin_is_told_in_v5(node: Lab, sandbox: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000"))
    request = cri.ExecRequest(container_id=container_id, cmd=["wc", "-c"], stdin=True, stdout=True)
    sends = [b"\x00" + b"x" * 5000, b"\xff\x00"]
    received, _ = await _websocket_exec(node, request, "v5.channel.k8s.io", sends)
    assert received[1].strip() == b"5000"
    assert json.loads(received[3])["status"] == "Success"


async def test_a_terminal_has_the_size_that_the_client_says(node: Lab, sandbox: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000"))
    script = "while ! stty size | grep -q '40 120'; do sleep 0.1; done; echo size is right"
    request = cri.ExecRequest(
        container_id=container_id, cmd=["sh", "-c", script], tty=True, stdin=True, stdout=True
    )
    sends = [b"\x04" + json.dumps({"Width": 120, "Height": 40}).encode()]
    received, _ = await _websocket_exec(node, request, "v5.channel.k8s.io", sends)
    assert b"size is right\r\n" in received[1]
    assert json.loads(received[3])["status"] == "Success"


async def test_attach_joins_the_container_s_own_streams(node: Lab, sandbox: str) -> None:
    config = container("sh", "-c", "while read x; do echo you said $x; done; echo over; sleep 1000")
    config.stdin = True
    config.stdin_once = True
    container_id = node.run(sandbox, config)
    request = cri.AttachRequest(container_id=container_id, stdin=True, stdout=True, stderr=True)
    url = node.runtime.Attach(request).url
    sends = [b"\x00one\n", b"\x00two\n", b"\xff\x00"]
    received, _ = await _websocket(node, url, "v5.channel.k8s.io", sends, b"over")
    assert received[1] == b"you said one\nyou said two\nover\n"
    wait_until("its log", lambda: "stdout F you said two" in log_text(node, container_id))


async def test_attach_to_a_terminal(node: Lab, sandbox: str) -> None:
    script = (
        "while ! stty size | grep -q '50 90'; do sleep 0.1; done; echo size is right; sleep 1000"
    )
    config = container("sh", "-c", script)
    config.tty = config.stdin = True
    container_id = node.run(sandbox, config)
    request = cri.AttachRequest(container_id=container_id, tty=True, stdin=True, stdout=True)
    url = node.runtime.Attach(request).url
    sends = [b"\x04" + json.dumps({"Width": 90, "Height": 50}).encode()]
    received, _ = await _websocket(node, url, "v4.channel.k8s.io", sends, b"right")
    assert b"size is right" in received[1]


async def test_a_stream_url_works_once(node: Lab, sandbox: str) -> None:
    container_id = node.run(sandbox, container("sleep", "1000"))
    url = node.runtime.Exec(
        cri.ExecRequest(container_id=container_id, cmd=["true"], stdout=True)
    ).url
    curl = [
        "nsenter",
        f"--net=/run/netns/{node.name}",
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        url,
    ]
    codes = [subprocess.run(curl, capture_output=True, text=True).stdout for _ in range(2)]
    assert codes == ["400", "404"]  # first: not a WebSocket; then: used


def test_runc_serves_as_well_as_crun(archives: Path) -> None:
    with lab(archives, "runc") as node:
        sandbox = node.run_sandbox(node.pod())
        container_id = node.run(sandbox, container("sh", "-c", "echo $HOSTNAME; exec sleep 1000"))
        assert node.exec(container_id, "sh", "-c", "echo in; exit 2").exit_code == 2
        stop(node, container_id)
        assert node.status(container_id).exit_code == 137
        wait_until("its log", lambda: "stdout F pod" in log_text(node, container_id))


# ---- Restarts


def test_containers_outlive_the_runtime(archives: Path) -> None:
    with lab(archives) as node:
        sandbox = node.run_sandbox(node.pod())
        lives = node.run(sandbox, container("sleep", "1000", name="lives"))
        ends = node.run(sandbox, container("sh", "-c", "sleep 1; exit 6", name="ends"))
        before = node.sandbox_status(sandbox)
        node.stop(signal.SIGKILL)
        exit_file = node.root / "lib/exits" / ends
        wait_until("exit code written while no runtime is there", exit_file.exists)
        node.start()
        assert node.sandbox_status(sandbox) == before
        assert node.status(lives).state == cri.CONTAINER_RUNNING
        assert node.exec(lives, "echo", "still here").stdout == b"still here\n"
        status = node.status(ends)
        assert (status.state, status.exit_code) == (cri.CONTAINER_EXITED, 6)
        stop(node, lives)
        assert node.status(lives).exit_code == 137


def test_after_a_reboot_everything_is_exited_and_can_be_removed(archives: Path) -> None:
    with lab(archives) as node:
        sandbox = node.run_sandbox(node.pod())
        container_id = node.run(sandbox, container("sleep", "1000"))
        pid = int((node.state / "containers" / container_id / "pid").read_text())
        conmon = int((node.state / "containers" / container_id / "conmon.pid").read_text())
        node.stop(signal.SIGKILL)
        _power_cut(node, [conmon, pid])
        node.start()
        status = node.status(container_id)
        assert (status.state, status.exit_code) == (cri.CONTAINER_EXITED, 255)
        assert node.sandbox_status(sandbox).state == cri.SANDBOX_NOTREADY
        node.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))
        node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
        leases = node.root / "ipam" / node.name
        assert not [p for p in leases.iterdir() if p.name.startswith("10.")]


def test_what_was_left_half_made_is_taken_down(archives: Path) -> None:
    with lab(archives) as node:
        whole, half = node.run_sandbox(node.pod("whole")), node.run_sandbox(node.pod("half"))
        container_id = node.run(whole, container("sleep", "1000"))
        pid = int((node.state / "containers" / container_id / "pid").read_text())
        node.stop(signal.SIGKILL)
        for record in (
            node.root / "lib/sandboxes" / half / "sandbox.json",
            node.root / "lib/containers" / container_id / "container.json",
        ):
            text = record.read_text()
            assert '"complete":true' in text
            record.write_text(text.replace('"complete":true', '"complete":false'))
        node.start()
        assert not process_alive(pid)
        [left] = node.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items
        assert left.id == whole
        assert not (node.state / "netns" / half).exists()
        assert not (node.root / "lib/containers" / container_id).exists()
        assert not [m for m in node.mounts() if half in m or container_id in m]


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_it_leaves_nothing_between_two_states(
    archives: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with lab(archives) as node:
        for _ in range(4):
            churn = threading.Thread(target=_churn, args=(node,))
            churn.start()
            # The moment of the kill is the point: anywhere in sandbox, create, start, stop, remove.
            churn.join(rng.uniform(0.02, 0.4))
            node.stop(signal.SIGKILL)
            churn.join()
            node.start()
            for item in node.runtime.ListContainers(cri.ListContainersRequest()).containers:
                assert node.status(item.id).state in (
                    cri.CONTAINER_CREATED,
                    cri.CONTAINER_RUNNING,
                    cri.CONTAINER_EXITED,
                )
        for sandbox in node.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items:
            node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox.id))
        assert node.runtime.ListContainers(cri.ListContainersRequest()).containers == []
        assert node.mounts() == []
        wait_until("nothing to be left", lambda: not _left(node))


def _churn(node: Lab) -> None:
    """Pods come and go until the runtime is gone."""
    try:
        while True:
            sandbox = node.run_sandbox(node.pod())
            node.run(sandbox, container("sleep", "1000", name="a"))
            node.create(sandbox, container("sleep", "1000", name="b"))
            node.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))
            node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
    except (grpc.RpcError, ValueError):
        return


def _left(node: Lab) -> list[Path]:
    """Whatever is on disk, in the kernel or running of any pod."""
    lib = node.root / "lib"
    places = [
        *(lib / name for name in ("sandboxes", "containers", "exits", "cni")),
        *(node.state / name for name in ("sandboxes", "containers", "oci", "netns", "exec")),
    ]
    left = [path for place in places if place.exists() for path in place.iterdir()]
    leases = node.root / "ipam" / node.name
    left += list(leases.glob("10.*"))
    for proc in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                b"conmon" in (proc / "cmdline").read_bytes()
                and str(node.state).encode() in (proc / "cmdline").read_bytes()
            ):
                left.append(proc)
    return left


def _power_cut(node: Lab, pids: list[int]) -> None:
    """What a reboot does: no process, no mount, an empty /run."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        wait_until("process gone", lambda p=pid: not process_alive(p))
    for mount in reversed(node.mounts()):
        subprocess.run(node.inside("umount", "-l", mount), check=True)
    shutil.rmtree(node.state)
    node.state.mkdir()


def test_no_network_configuration_means_not_ready_and_no_pod(archives: Path) -> None:
    with lab(archives) as node:
        conf = node.root / "cni/10-test.conflist"
        saved = conf.read_text()
        conf.unlink()
        conditions = {c.type: c for c in node.runtime.Status(cri.StatusRequest()).status.conditions}
        assert conditions["RuntimeReady"].status
        assert not conditions["NetworkReady"].status
        with pytest.raises(grpc.RpcError) as failure:
            node.run_sandbox(node.pod())
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        assert node.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items == []
        # The machine's own network needs none.
        host = node.pod("host")
        host.linux.security_context.namespace_options.network = cri.NODE
        assert node.run_sandbox(host)
        conf.write_text(saved)
        assert node.run_sandbox(node.pod())
