"""What a pod uses of its node is bounded: tasks here, disk in `test_pod_storage`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.api import core
from tests.component.kubelet_harness import Machine, Pods, machine, pod, until
from tests.component.runtime_harness import V2

pytestmark = pytest.mark.root
MOST = 64


@pytest.fixture(scope="module")
def node(images: Path) -> Iterator[Machine]:
    with machine(images, "crun", f"--pod-max-pids={MOST}") as made:
        try:
            yield made
        finally:
            print(made.tail())


def tasks_of(node: Machine, subject: core.Pod) -> tuple[int, int]:
    """(tasks now, forks that were refused) of the pod's cgroup, which holds its containers'."""
    hierarchy = Path("/sys/fs/cgroup") if V2 else Path("/sys/fs/cgroup/pids")
    cgroup = hierarchy / node.lab.name / "kubepods/besteffort" / f"pod{subject.metadata.uid}"
    now = int((cgroup / "pids.current").read_text())
    refused = [p.read_text().split()[1] for p in cgroup.glob("**/pids.events")]
    return now, sum(map(int, refused))


async def test_a_fork_bomb_ends_in_its_pod(node: Machine, pods: Pods) -> None:
    """Several hundred tasks are asked for, by shells that each start more of them."""
    script = (
        "trap 'exit 0' TERM; grow() { sleep 1000 & [ $1 -eq 0 ] || { grow $(($1-1)) & "
        "grow $(($1-1)) & }; }; grow 8; while :; do sleep 0.1 || true; done"
    )
    made = await pods.create(pod("bomb", "sh", "-c", script))

    async def at_the_limit() -> bool:
        try:
            now, refused = tasks_of(node, made)
        except FileNotFoundError:
            return False
        assert now <= MOST
        return refused > 0

    await until("forks are refused", at_the_limit)
    neighbour = await pods.ready(pod("neighbour", "sh", "-c", "sleep 1000"))
    assert neighbour.status.phase == "Running"
    assert node.kubectl("exec", "neighbour", "--", "echo", "well").stdout == "well\n"
    assert tasks_of(node, made)[0] <= MOST
    assert (await node.get(node.kubelet_client, "/healthz"))[0] == 200
    await pods.delete("bomb")
    await pods.gone("bomb")
