"""A container's logs stay small, whoever reads them meanwhile, and whatever it does beside them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.api import core
from tests.component.kubelet_harness import Machine, Pods, machine, pod, until
from tests.security.pod_harness import ended

pytestmark = pytest.mark.root
LIMIT, FILES = 128 << 10, 3
ROUNDS, LINES = 40, 1000


@pytest.fixture(scope="module")
def node(images: Path) -> Iterator[Machine]:
    flags = (f"--container-log-max-size={LIMIT}", f"--container-log-max-files={FILES}",
             "--container-log-monitor-interval=0.5")  # fmt: skip
    with machine(images, "crun", *flags) as made:
        try:
            yield made
        finally:
            print(made.tail())


def logs_of(node: Machine, subject: core.Pod) -> list[Path]:
    meta = subject.metadata
    directory = node.lab.logs / f"{meta.namespace}_{meta.name}_{meta.uid}" / "c"
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _follow(node: Machine) -> list[bytes]:
    """What a follower of the talker gets, who was there before it began."""
    with node.popen_kubectl("logs", "--follow", "talker") as reader:
        assert reader.stdout is not None
        wanted = b"%d\n" % (ROUNDS * LINES + LINES - 1)
        lines = [reader.stdout.readline()]
        node.kubectl("exec", "talker", "--", "touch", "/go")
        while lines[-1] != wanted:
            lines.append(reader.stdout.readline())
            assert lines[-1], lines[-3:]
        reader.terminate()
    return lines


def sizes_of(node: Machine, subject: core.Pod) -> dict[str, int]:
    found = {}
    for path in logs_of(node, subject):
        with contextlib.suppress(FileNotFoundError):  # they come and go
            found[path.name] = path.stat().st_size
    return found


async def test_a_talkative_container_is_rotated_and_its_follower_misses_nothing(
    node: Machine, pods: Pods
) -> None:
    script = (
        "echo 999; while [ ! -e /go ]; do sleep 0.1; done; "
        f"for i in $(seq {ROUNDS}); do seq $((i*{LINES})) $((i*{LINES}+{LINES}-1)); "
        "sleep 0.1; done; touch /done; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    )
    ready = await pods.ready(pod("talker", "sh", "-c", script))
    lines = await asyncio.to_thread(_follow, node)
    assert [int(line) for line in lines] == list(range(LINES - 1, ROUNDS * LINES + LINES))

    async def rotated() -> bool:
        names = [p.name for p in logs_of(node, ready)]
        return any(n.endswith(".gz") for n in names) and not any(n.endswith(".tmp") for n in names)

    await until("older logs are compressed", rotated)
    found = logs_of(node, ready)
    assert 2 <= len(found) <= FILES
    pattern = re.compile(r"0\.log(\.\d{8}-\d{6}(\.gz)?)?")
    assert all(pattern.fullmatch(p.name) for p in found), found
    packed = next(p for p in found if p.name.endswith(".gz"))
    text = gzip.decompress(packed.read_bytes())
    assert b" stdout F " in text
    tail = node.kubectl("logs", "--tail=3", "talker").stdout.split()
    assert not tail or tail[-1] == str(ROUNDS * LINES + LINES - 1)


async def test_a_flood_leaves_no_more_than_the_allowance(node: Machine, pods: Pods) -> None:
    """More than the whole allowance between two looks: the surplus goes with the next one."""
    script = (
        "yes 0123456789012345678901234567890123456789 | head -c 30000000; touch /done; "
        "trap 'exit 0' TERM; while :; do [ -e /more ] && seq 5000; sleep 0.3; done"
    )
    ready = await pods.ready(pod("flood", "sh", "-c", script))

    async def flooded() -> bool:
        return node.kubectl("exec", "flood", "--", "ls", "/done", check=False).returncode == 0

    await until("the flood is over", flooded)

    async def small() -> bool:
        node.kubectl("exec", "flood", "--", "touch", "/more")
        return sum(sizes_of(node, ready).values()) < 16 * LIMIT

    await until("the logs are small", small)


async def test_who_writes_faster_than_anybody_compresses_is_bounded_too(
    node: Machine, pods: Pods
) -> None:
    """What was written between two looks may stay as the newest rotated log, and nothing older."""
    script = "trap 'exit 0' TERM; while :; do yes | head -c 3000000; sleep 0.1; done"
    ready = await pods.ready(pod("torrent", "sh", "-c", script))
    largest, rounds = 0, set[str]()

    async def many_rounds() -> bool:
        nonlocal largest
        sizes = sizes_of(node, ready)
        rounds.update(sizes)
        largest = max(largest, *sizes.values())
        return len(rounds) > 12

    await until("it was rotated several times", many_rounds)
    found = sizes_of(node, ready)
    assert len(found) <= FILES + 2, found  # some come and go while we look
    assert sum(found.values()) <= 4 * largest + FILES * LIMIT, found


async def test_what_a_container_puts_beside_its_logs_is_not_followed(
    node: Machine, pods: Pods
) -> None:
    """A hostPath volume on the logs: links there lead nowhere, and others' are rotated."""
    victim = node.lab.root / "victim"
    victim.write_text("precious" * 40_000)
    volumes = [{"name": "l", "hostPath": {"path": str(node.lab.logs)}}]
    mounts = {"volumeMounts": [{"name": "l", "mountPath": "/pods"}]}
    script = (
        "cd /pods/*_mole_*/c; "
        f"ln -s {victim} 0.log.20200101-000000; mkfifo 0.log.20200101-000001; "
        f"ln -s {victim} 0.log.20200101-000002.tmp; rm 0.log; ln -s {victim} 0.log; "
        "trap 'exit 0' TERM; while :; do seq 2000; sleep 0.1; done"
    )
    await pods.ready(pod("mole", "sh", "-c", script, volumes=volumes, container=mounts))
    loud = "trap 'exit 0' TERM; while :; do seq 2000; sleep 0.1; done"
    other = await pods.ready(pod("neighbour", "sh", "-c", loud))

    async def rotated() -> bool:
        return len(logs_of(node, other)) >= 2

    await until("the neighbour's log is rotated", rotated)
    assert victim.read_text() == "precious" * 40_000
    assert not list(victim.parent.glob("victim.*"))


async def test_a_container_that_ended_is_followed_to_the_end(node: Machine, pods: Pods) -> None:
    await pods.create(pod("short", "sh", "-c", "seq 20000", restartPolicy="Never"))
    await pods.when("short", "is over", ended)
    text = node.kubectl("logs", "--follow", "short").stdout
    assert text.endswith("20000\n")
