"""`hostUsers: false`: each pod has ids of its own, over restarts; a node without says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.client.client import Client
from tests.component.kubelet_harness import Machine, Pods, machine, pod
from tests.security.pod_harness import ended, event

pytestmark = pytest.mark.root
STAY = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")


@pytest.fixture(scope="module", params=["crun", "containerd"])
def node(images: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(images, request.param) as made:
        try:
            yield made
        finally:
            print(made.tail())


def first_id(node: Machine, name: str) -> int:
    text = node.kubectl("exec", name, "--", "cat", "/proc/self/uid_map").stdout
    first, outside, length = map(int, text.split())
    assert (first, length) == (0, 65_536)
    assert outside >= 65_536 and outside % 65_536 == 0
    return outside


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_no_two_pods_share_ids_also_after_a_restart(node: Machine, pods: Pods) -> None:
    for name in ("one", "two"):
        await pods.ready(pod(name, *STAY, hostUsers=False))
    before = {name: first_id(node, name) for name in ("one", "two")}
    node.stop("kubelet")
    node.start_kubelet()
    await pods.ready(pod("three", *STAY, hostUsers=False))
    after = {name: first_id(node, name) for name in ("one", "two", "three")}
    assert {name: after[name] for name in before} == before
    assert len(set(after.values())) == 3
    await pods.delete("two")
    await pods.gone("two")
    await pods.ready(pod("four", *STAY, hostUsers=False))
    assert first_id(node, "four") == before["two"]


@pytest.mark.parametrize("node", ["crun"], indirect=True)
async def test_even_an_unmasked_proc_gives_the_node_nothing(node: Machine, pods: Pods) -> None:
    """`procMount: Unmasked` leaves /proc/sys writable: for root of the node, which this is not."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    script = (
        "grep -c ' /proc/sys ' /proc/mounts; "
        "for f in sys/kernel/core_pattern sys/vm/swappiness sysrq-trigger; do "
        "(echo b > /proc/$f) 2> /dev/null && echo written || echo refused; done"
    )
    unmasked = {"securityContext": {"procMount": "Unmasked"}}
    await pods.create(pod("weak", "sh", "-c", script, hostUsers=False, restartPolicy="Never",
                          container=unmasked))  # fmt: skip
    await pods.when("weak", "is over", ended)
    assert node.kubectl("logs", "weak").stdout.splitlines() == ["0", *["refused"] * 3]
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.parametrize("node", ["containerd"], indirect=True)
async def test_a_runtime_without_them_says_so(client: Client, pods: Pods) -> None:
    """And so does one that cannot keep the image's groups away."""
    await pods.create(pod("wants", *STAY, hostUsers=False))
    strict = {"supplementalGroupsPolicy": "Strict"}
    await pods.create(pod("strict", *STAY, securityContext=strict))
    told = await event(client, "wants", "FailedCreatePodSandBox")
    assert told.message == (
        "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support "
        "user namespaces"
    )
    found = await pods.when("strict", "is refused", ended)
    assert (found.status.reason, found.status.message) == (
        "SupplementalGroupsPolicyNotSupported",
        "Pod was rejected: SupplementalGroupsPolicy=Strict is not supported in this node",
    )
    wants = await pods.get("wants")
    assert wants and wants.status.phase == "Pending"
