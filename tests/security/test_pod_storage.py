"""A pod that uses more of the node's disk than it may is evicted, and nobody else for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kube.api import core
from tests.component.kubelet_harness import NODE, Machine, Pods, pod, until
from tests.component.runtime_harness import Lab
from tests.security.loopwatch import Watch, watched
from tests.security.pod_harness import ended, event

pytestmark = pytest.mark.root
STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
DISK_MIB = 64


@pytest.fixture(scope="module")
def node_and_loop(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Watch]]:
    """A node whose disk for pods is a small tmpfs."""
    flags = ("--eviction-monitor-interval=0.3", "--eviction-pressure-transition-period=2",
             "--eviction-hard=nodefs.available<30%")  # fmt: skip
    with watched(tmp_path_factory.mktemp("loops")) as watch, Lab("crun") as lab:
        (lab.root / "machine.json").write_text('{"cpus": 2, "memory_mib": 1024}')
        (lab.root / "kubelet").mkdir()
        disk = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", f"{lab.root}/kubelet"]
        subprocess.run(lab.inside(*disk), check=True, timeout=60)
        for archive in images.glob("*.tar"):
            lab.load(archive)
        with Machine(lab, flags) as made:
            try:
                yield made, watch
            finally:
                print(made.tail())


@pytest.fixture
def node(node_and_loop: tuple[Machine, Watch]) -> Machine:
    return node_and_loop[0]


def with_volume(script: str, name: str, limit: str = "", **container: Any) -> core.Pod:
    volume = {"name": "v", "emptyDir": {"sizeLimit": limit} if limit else {}}
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    return pod(name, "sh", "-c", f"{script}; {STAY}", volumes=[volume],
               container=mounts | container)  # fmt: skip


def pod_directory(node: Machine, subject: core.Pod) -> str:
    """What is left of the pod's directory, as the node sees it."""
    path = f"{node.lab.root}/kubelet/pods/{subject.metadata.uid}"
    done = subprocess.run(node.lab.inside("ls", path), capture_output=True, text=True, timeout=60)
    return done.stdout


async def test_an_empty_dir_over_its_limit(node: Machine, pods: Pods) -> None:
    """Beside one whose links and holes only look large."""
    await pods.ready(with_volume("ln -s / /v/all; ln -s /v /v/v; truncate -s 1G /v/holes; "
                                 "mkfifo /v/fifo", "honest", "1Mi"))  # fmt: skip
    await pods.create(with_volume("dd if=/dev/zero of=/v/x bs=1M count=3", "greedy", "1Mi"))
    found = await pods.when("greedy", "is evicted", ended)
    status = found.status
    text = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert (status.phase, status.reason, status.message) == ("Failed", "Evicted", text)
    async with node.client() as client:
        told = await event(client, "greedy", "Evicted")
    assert (told.type, told.message) == ("Warning", text)

    async def freed() -> bool:
        return pod_directory(node, found) == ""

    await until("its disk is free again, though its object is there", freed)
    honest = await pods.get("honest")
    assert honest and honest.status.phase == "Running"


async def test_what_a_container_writes_into_its_own_root(node: Machine, pods: Pods) -> None:
    limits = {"resources": {"limits": {"ephemeral-storage": "2Mi"}}}
    script = f"dd if=/dev/zero of=/x bs=1M count=4; {STAY}"
    await pods.create(pod("writer", "sh", "-c", script, container=limits))
    found = await pods.when("writer", "is evicted", ended)
    assert (found.status.reason, found.status.message) == (
        "Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "
    )  # fmt: skip


async def test_one_container_of_two(pods: Pods) -> None:
    made = pod("two", "sh", "-c", f"dd if=/dev/zero bs=1M count=3 | tr '\\0' 'x' | fold; {STAY}",
               container={"resources": {"limits": {"ephemeral-storage": "2Mi"}}})  # fmt: skip
    quiet = {"name": "quiet", "image": made.spec.containers[0].image, "command": ["sleep", "1000"],
             "resources": {"limits": {"ephemeral-storage": "30Mi"}}}  # fmt: skip
    made = pod("two", containers=[_plain(made), quiet])
    await pods.create(made)
    found = await pods.when("two", "is evicted", ended)
    assert (found.status.reason, found.status.message) == (
        "Evicted", 'Container c exceeded its local ephemeral storage limit "2Mi". '
    )  # fmt: skip


def _plain(subject: core.Pod) -> dict[str, Any]:
    container = subject.spec.containers[0]
    return {"name": container.name, "image": container.image, "command": list(container.command),
            "resources": {"limits": dict(container.resources.limits)}}  # type: ignore[union-attr]  # fmt: skip


async def test_a_huge_tree_holds_neither_the_loop_nor_its_neighbours(
    node_and_loop: tuple[Machine, Watch], pods: Pods
) -> None:
    node, watch = node_and_loop
    script = (
        "for i in $(seq 60); do mkdir /v/$i; (cd /v/$i; seq 500 | xargs touch); done; touch /ok"
    )
    await pods.ready(with_volume(script, "forest", "40Mi"))

    async def planted() -> bool:
        return node.kubectl("exec", "forest", "--", "ls", "/ok", check=False).returncode == 0

    await until("30,000 files are there", planted)
    loop = watch.of(node.pid("kubelet"))
    with loop.during() as seen:
        await pods.create(with_volume("dd if=/dev/zero of=/v/x bs=1M count=3", "late", "1Mi"))
        found = await pods.when("late", "is evicted", ended)
    assert found.status.reason == "Evicted"
    assert seen.turns > 0
    assert seen.longest < 50
    forest = await pods.get("forest")
    assert forest and forest.status.phase == "Running"


async def test_a_node_that_runs_short_evicts_its_worst_pod(node: Machine, pods: Pods) -> None:
    await pods.ready(with_volume("dd if=/dev/zero of=/v/x bs=1M count=2", "modest"))
    await pods.create(with_volume("dd if=/dev/zero of=/v/x bs=1M count=52", "hog"))
    found = await pods.when("hog", "is evicted", ended)
    status = found.status
    assert (status.phase, status.reason) == ("Failed", "Evicted")
    threshold = DISK_MIB * 2**20 * 3 // 10
    assert status.message.startswith(
        f"The node was low on resource: ephemeral-storage. Threshold quantity: {threshold}, "
        "available: "
    )
    await pods.create(pod("stranger", "sleep", "1000"))
    refused = await pods.when("stranger", "is refused", lambda p: ended(p) or p.status.start_time)
    assert (refused.status.reason, refused.status.message) == (
        "Evicted", "Pod was rejected: The node had condition: [DiskPressure]. "
    )  # fmt: skip
    async with node.client() as client:

        async def pressure_is(status: str) -> bool:
            conditions = (await client.get(core.Node, NODE)).status.conditions
            return any(c.type == "DiskPressure" and c.status == status for c in conditions)

        await until("the pressure is over", lambda: pressure_is("False"))
        told = await event(client, NODE, "EvictionThresholdMet")
        assert told.message == "Attempting to reclaim ephemeral-storage"
    modest = await pods.get("modest")
    assert modest and modest.status.phase == "Running"
