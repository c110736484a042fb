"""A pod with a user namespace: its root is nobody on the node, and its files are still its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kube.stubs.cri import api_pb2 as cri
from tests.component.runtime_harness import V2, Lab, container, lab, wait_until

pytestmark = pytest.mark.root
FIRST, LENGTH = 131_072, 65_536


@pytest.fixture(scope="module", params=["crun", "runc"])
def node(images: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab(images, request.param) as made:
        try:
            yield made
        finally:
            print((made.root / "runtime.log").read_text()[-6000:])


def options(pid: cri.NamespaceMode.ValueType = cri.CONTAINER) -> cri.NamespaceOption:
    ids = [cri.IDMapping(host_id=FIRST, container_id=0, length=LENGTH)]
    user = cri.UserNamespace(mode=cri.POD, uids=ids, gids=ids)
    return cri.NamespaceOption(pid=pid, userns_options=user)


def sandbox(node: Lab, name: str, wanted: cri.NamespaceOption) -> str:
    config = node.pod(name)
    config.linux.security_context.namespace_options.CopyFrom(wanted)
    config.linux.sysctls["net.ipv4.ip_unprivileged_port_start"] = "80"
    return node.run_sandbox(config)


def in_pod(wanted: cri.NamespaceOption, *command: str, name: str = "main") -> cri.ContainerConfig:
    config = container(*command, name=name)
    config.linux.security_context.namespace_options.CopyFrom(wanted)
    return config


def text_of(node: Lab, container_id: str) -> str:
    lines = Path(node.status(container_id).log_path).read_text().splitlines()
    return "".join(line.split(" ", 3)[3] + "\n" for line in lines)


LOOK = """
cat /proc/self/uid_map; id -u
stat -c '%u %g %n' / /bin /bin/busybox /volume /volume/theirs /file /etc/resolv.conf /dev/shm
echo mine > /volume/mine && echo written; echo x > /new && stat -c '%u' /new
echo x > /dev/shm/x && echo shm; chown 1000 /volume/mine && stat -c '%u' /volume/mine
cat /proc/sys/net/ipv4/ip_unprivileged_port_start; hostname
mkdir /m && mount -t tmpfs none /m 2> /dev/null || echo no mount
(echo 81 > /proc/sys/net/ipv4/ip_unprivileged_port_start) 2> /dev/null || echo read-only
ip link show dev eth0 > /dev/null && echo network
"""


def test_root_inside_is_nobody_outside(node: Lab) -> None:
    volume, file = node.root / "volume", node.root / "file"
    volume.mkdir()
    (volume / "theirs").write_text("theirs")
    file.write_text("file")
    wanted = options()
    pod = sandbox(node, "mapped", wanted)
    config = in_pod(wanted, "sh", "-c", LOOK)
    for path, source in (("/volume", volume), ("/file", file)):
        config.mounts.append(cri.Mount(container_path=path, host_path=str(source)))
    made = node.run(pod, config)
    assert node.ended(made).exit_code == 0, text_of(node, made)
    text = text_of(node, made)
    lines = text.splitlines()
    assert lines[0].split() == ["0", str(FIRST), str(LENGTH)]
    assert lines[1] == "0"
    assert [line.split()[:2] for line in lines[2:10]] == [["0", "0"]] * 8, text
    assert lines[10:] == ["written", "0", "shm", "1000", "80", "mapped",
                          "no mount", "read-only", "network"], text  # fmt: skip
    # On the node's disk, the volume is as for any pod: other pods, other ranges, may share it.
    assert (volume / "mine").stat().st_uid == 1000
    assert (volume / "theirs").stat().st_uid == 0
    upper = next((node.root / "lib/containers").glob(f"{made}/upper"))
    assert (upper / "new").stat().st_uid == FIRST
    assert not [m for m in node.mounts() if "/mapped/" in m]
    node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=60)


def test_outside_its_process_runs_as_nobody(node: Lab) -> None:
    wanted = options()
    pod = sandbox(node, "seen", wanted)
    made = node.run(pod, in_pod(wanted, "sleep", "1000"))
    request = cri.ContainerStatusRequest(container_id=made, verbose=True)
    assert node.runtime.ContainerStatus(request, timeout=30).status.state == cri.CONTAINER_RUNNING
    pid = int((node.state / "containers" / made / "pid").read_text())
    assert Path(f"/proc/{pid}").stat().st_uid == FIRST
    done = node.exec(made, "cat", "/proc/self/uid_map")
    assert done.stdout.split()[1] == str(FIRST).encode()
    node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=60)
    wait_until("it is gone", lambda: not Path(f"/proc/{pid}").exists())


def test_a_pid_namespace_for_the_pod(node: Lab) -> None:
    wanted = options(cri.POD)
    pod = sandbox(node, "shared", wanted)
    first = node.run(pod, in_pod(wanted, "sleep", "1234", name="first"))
    second = node.run(pod, in_pod(wanted, "sleep", "1000", name="second"))
    assert b"sleep 1234" in node.exec(second, "ps").stdout
    assert len(_processes(node, second)) < 6
    assert node.status(first).state == cri.CONTAINER_RUNNING
    node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=60)


def _processes(node: Lab, container_id: str) -> list[bytes]:
    return [n for n in node.exec(container_id, "ls", "/proc").stdout.split() if n.isdigit()]


@pytest.mark.skipif(V2, reason="the test's machine is the host itself")
@pytest.mark.parametrize("pid", [cri.CONTAINER, cri.POD])
def test_on_a_machine_that_covers_parts_of_proc(
    node: Lab, pid: cri.NamespaceMode.ValueType
) -> None:
    """The kernel lets nobody look around the cover, so the pod needs a whole one to begin with."""
    subprocess.run(node.inside("mount", "--bind", "/proc/sys", "/proc/sys"), check=True)
    try:
        wanted = options(pid)
        pod = sandbox(node, "covered", wanted)
        made = node.run(pod, in_pod(wanted, "sleep", "1000"))
        assert len(_processes(node, made)) < 6
        assert node.exec(made, "cat", "/proc/self/uid_map").stdout.split()[1] == b"131072"
        node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=60)
        assert not [m for m in node.mounts() if "/mapped/" in m]
    finally:
        subprocess.run(node.inside("umount", "/proc/sys"), check=True)


def test_it_is_told_and_survives_a_restart(node: Lab) -> None:
    status = node.runtime.Status(cri.StatusRequest(), timeout=30)
    assert all(h.features.user_namespaces for h in status.runtime_handlers)
    wanted = options()
    pod = sandbox(node, "stays", wanted)
    node.stop()
    node.start()
    made = node.run(pod, in_pod(wanted, "cat", "/proc/self/uid_map"))
    node.ended(made)
    assert text_of(node, made).split()[1] == str(FIRST)
    node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=60)
    assert not [m for m in node.mounts() if pod in m]


@pytest.mark.parametrize(
    "change",
    [
        {"network": cri.NODE}, {"ipc": cri.NODE}, {"pid": cri.NODE},
        {"uids": [cri.IDMapping(host_id=0, container_id=0, length=LENGTH)]},
        {"uids": []},
        {"gids": [cri.IDMapping(host_id=FIRST + 1, container_id=0, length=LENGTH)]},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_would_give_the_machine_away_is_refused(node: Lab, change: dict[str, object]) -> None:
    wanted = options()
    for name, value in change.items():
        if isinstance(value, list):
            target = getattr(wanted.userns_options, name)
            del target[:]
            target.extend(value)
        else:
            setattr(wanted, name, value)
    if change == {"uids": [cri.IDMapping(host_id=0, container_id=0, length=LENGTH)]}:
        wanted.userns_options.gids[0].host_id = 0
    with pytest.raises(grpc.RpcError) as caught:
        sandbox(node, "refused", wanted)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
