"""Scheduler plugins of one file and one line each, in a real process on a real api-server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kube.api.core import Container, Event, Node, NodeStatus, Pod, PodSchedulingGate, PodSpec
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.machinery.errors import Invalid
from tests.component.control_harness import ControlPlane, control_plane, until
from tests.component.pki_fixture import Pki

# Gang: pods of a group start together or not at all. Fussy: wants no pod called "unwanted".
# Picky: takes part in binding, and refuses a pod until its label says so.
PLUGINS = '''
"""Plugins of the test."""

from master.scheduler.plugin import POD_ADD, Hold, Plugin, Rejection
from master.scheduler.plugins import PLUGINS


class Gang(Plugin):
    name = "Gang"
    events = frozenset({POD_ADD})

    def __init__(self):
        self.reserved = []

    def reserve(self, cycle, node):
        self.reserved.append(cycle.pod.key)

    def unreserve(self, cycle, node):
        if cycle.pod.key in self.reserved:
            self.reserved.remove(cycle.pod.key)

    def permit(self, cycle, node):
        size = int(cycle.pod.labels.get("gang-size", 1))
        mine = [held for held in self.handle.held.values() if "gang-size" in held.pod.labels]
        if len(mine) + 1 < size:
            return Hold(float(cycle.pod.labels.get("gang-seconds", 300)))
        for held in mine:
            held.allow(self.name)


class Fussy(Plugin):
    name = "Fussy"

    def permit(self, cycle, node):
        return Rejection(("nobody wants it",)) if cycle.pod.key.endswith("/unwanted") else None


class Crashing(Plugin):
    name = "Crashing"

    def filter(self, pod, node, state):
        if "poison" in pod.key:
            raise RuntimeError("a bug")


PLUGINS += [Gang, Fussy, Crashing]
'''
RUN = """
import plugins_of_the_test
import sys
from master.scheduler.main import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[ControlPlane]:
    directory: Path = tmp_path_factory.mktemp("plugins")
    (directory / "plugins_of_the_test.py").write_text(PLUGINS)
    (directory / "run_scheduler.py").write_text(RUN)
    with control_plane(directory, pki) as plane:
        plane.kubectl("create", "serviceaccount", "default")
        plane.start_scheduler(directory / "run_scheduler.py")
        asyncio.run(_add_node(plane))
        yield plane


async def _add_node(plane: ControlPlane) -> None:
    async with plane.client() as client:
        room = {"cpu": "4", "memory": "8Gi", "pods": "100"}
        node = Node(metadata=ObjectMeta(name="n1"), status=NodeStatus(allocatable=room))
        created = await client.create(node)
        await client.update_status(msgspec.structs.replace(created, status=node.status))


async def _create(client: Client, name: str, **labels: str) -> Pod:
    return await client.create(_pod(name, labels))


def _pod(name: str, labels: dict[str, str], gates: tuple[PodSchedulingGate, ...] = ()) -> Pod:
    named = {key.replace("_", "-"): value for key, value in labels.items()}
    meta = ObjectMeta(name=name, namespace="default", labels=named)
    containers = (Container(name="c", image="i"),)
    return Pod(metadata=meta, spec=PodSpec(containers=containers, scheduling_gates=gates))


async def _node_of(client: Client, name: str) -> str:
    return (await client.get(Pod, name, "default")).spec.node_name


async def _told(client: Client, name: str, text: str) -> bool:
    events = (await client.list(Event, "default")).items
    return any(e.involved_object.name == name and text in e.message for e in events)


async def test_a_gang_starts_together(plane: ControlPlane) -> None:
    async with plane.client() as client:
        await _create(client, "gang-1", gang_size="2")
        await _create(client, "alone")
        await until(lambda: _node_of(client, "alone"), "others pass the one that is held")
        assert await _node_of(client, "gang-1") == ""
        await _create(client, "gang-2", gang_size="2")
        for name in ("gang-1", "gang-2"):
            assert await until(lambda name=name: _node_of(client, name), name) == "n1"  # type: ignore[misc]


async def test_a_held_pod_is_given_up_in_time_and_tried_again(plane: ControlPlane) -> None:
    async with plane.client() as client:
        await _create(client, "late", gang_size="9", gang_seconds="0.2")
        text = "rejected due to timeout after waiting 0.2s at plugin Gang"
        await until(lambda: _told(client, "late", text), "given up")
        status = (await client.get(Pod, "late", "default")).status
        (condition,) = [c for c in status.conditions if c.type == "PodScheduled"]
        assert (condition.status, condition.reason) == ("False", "Unschedulable")
        await client.delete(Pod, "late", "default")


async def test_a_refused_pod_says_why_and_holds_nobody_up(plane: ControlPlane) -> None:
    async with plane.client() as client:
        await _create(client, "unwanted")
        await until(lambda: _told(client, "unwanted", "nobody wants it"), "refused")
        await _create(client, "next-wanted")
        assert await until(lambda: _node_of(client, "next-wanted"), "scheduled") == "n1"
        assert await _node_of(client, "unwanted") == ""


async def test_a_plugins_bug_stops_its_pod_alone(plane: ControlPlane) -> None:
    async with plane.client() as client:
        await _create(client, "poison")
        await _create(client, "next-sane")
        assert await until(lambda: _node_of(client, "next-sane"), "scheduled") == "n1"
        assert await _node_of(client, "poison") == ""


async def test_a_gated_pod_is_scheduled_once_its_gates_are_gone(plane: ControlPlane) -> None:
    async with plane.client() as client:
        quota, licence = (PodSchedulingGate(name=f"example.com/{n}") for n in ("quota", "licence"))
        await client.create(_pod("gated", {}, (quota, licence)))
        await _create(client, "next-open")
        await until(lambda: _node_of(client, "next-open"), "others are scheduled")
        assert await _node_of(client, "gated") == ""
        assert not await _told(client, "gated", "")
        await _gates(client, "gated", "example.com/licence")
        with pytest.raises(
            Invalid, match="only deletion is allowed, but found new scheduling gate"
        ):
            await _gates(client, "gated", "example.com/licence", "example.com/other")
        assert await _node_of(client, "gated") == ""
        await _gates(client, "gated")
        assert await until(lambda: _node_of(client, "gated"), "scheduled") == "n1"


async def _gates(client: Client, name: str, *gates: str) -> None:
    patch = {"spec": {"schedulingGates": [{"name": gate} for gate in gates] or None}}
    await client.patch(Pod, name, patch, "default")
