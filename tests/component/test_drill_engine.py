"""A drill from its aim to its verdict, on a real control plane whose kubelets are the test's own.

The power of these machines is whether their agent speaks; everything else is real: api-server,
controllers and scheduler in processes, watches, writes over REST, the watchdog, the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drills import document, engine
from drills.base import of
from drills.errors import NothingRan
from drills.events import ApiWrite
from drills.journal import pending
from drills.lab import DrillLab
from drills.probes import look
from drills.probes.command import Command
from drills.probes.condition import Condition
from drills.probes.http import Http
from drills.probes.tcp import Tcp
from drills.report import report_of
from drills.result import Result
from drills.verdict import Verdict
from kube.api.apps import Deployment
from kube.api.core import ConfigMap, Node, Pod, Service, ServicePort, ServiceSpec
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.machinery.errors import NotFound
from provision.providers.base import LabNetwork, LabSpec, MachineSpec
from provision.providers.local.provider import LocalProvider
from tests.component.control_harness import (
    Agent,
    ControlPlane,
    agents,
    control_plane,
    until,
    web,
)
from tests.component.pki_fixture import Pki

MACHINES = (
    MachineSpec("m1", "master", "127.0.0.1", 1, 512),
    MachineSpec("w1", "worker", "127.0.0.2", 1, 512),
    MachineSpec("w2", "worker", "127.0.0.3", 1, 512),
)
# The agents report no containers, so `started` is not among these.
POWER_OFF = """
apiVersion: muster/v1
kind: Drill
metadata: {name: power}
spec:
  workload: default/web
  load: {apiWritesPerSecond: 5, timeoutSeconds: 60}
  steadyState: {goodRequests: 5, probes: [{probe: condition, name: web, kind: Deployment,
                object: web, condition: Available}]}
  faults: [{fault: power-off, target: {role: worker, pick: most-pods}}]
  recovery:
    phases: [last_lease, fault, not_ready, tainted, endpoints_withdrawn, pods_deleted,
             replacements_created, scheduled, ready, endpoints_published, service_answers]
    settleSeconds: 0.2
  wayBack: {phases: [healed, rejoined, untainted, old_pods_gone, good_after_heal]}
  levels:
    - {metric: failed_requests, max: 0}
    - {metric: failed_api_writes, max: 0}
    - {metric: not_ready_nodes, max: 1, min: 1}
"""


@dataclass
class Plugs(LocalProvider):
    """Power for agents."""

    agents: dict[str, Agent] = field(default_factory=dict)

    async def power_off(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        for name in names or ():
            self.agents[name].alive = False

    async def start(self, lab: LabSpec, names: Sequence[str] | None = None, *_: object) -> None:
        for name in names or ():
            self.agents[name].alive = True


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("control"), pki) as plane:
        plane.start_controllers()
        plane.start_scheduler()
        yield plane


@dataclass
class Stage:
    """A lab of two nodes with a Service that answers."""

    lab: DrillLab
    client: Client
    agents: dict[str, Agent]

    async def run(self, text: str, *settings: str, **how: str) -> tuple[Result, list[str]]:
        said: list[str] = []
        concluded: list[Result] = []
        drill = document.parse(text, "test", settings)
        result = await engine.run(
            drill, self.lab, say=said.append, conclude=concluded.append, **how
        )
        assert concluded == [result]
        return result, said


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello\n")
    writer.close()


def free_node_port() -> int:
    for port in range(30000, 32768):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
    raise AssertionError("no port is free")


@pytest.fixture
async def stage(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Stage]:
    port = free_node_port()
    server = await asyncio.start_server(answer, "0.0.0.0", port)
    plugs = Plugs()
    network = LabNetwork("127.0.0.0/24", "127.0.0.1", "127.0.0.1")
    spec = LabSpec("t-engine", network, MACHINES, tmp_path, "", tmp_path)
    tls = plane.pki.issue("monitoring")
    async with server, plane.client() as client:
        async with agents(client, "w1", "w2") as made:
            plugs.agents = made
            lab = DrillLab(spec, plugs, tuple(plane.servers), plane.kubeconfig, tls, "fast")
            service = Service(
                metadata=ObjectMeta(name="web", namespace="default"),
                spec=ServiceSpec(
                    type="NodePort", selector={"app": "web"},
                    ports=(ServicePort(port=80, target_port=8080, node_port=port),),
                ),
            )  # fmt: skip
            await client.create(service)
            await client.create(web(4))

            async def spread() -> bool:
                pods = (await client.list(Pod, "default")).items
                ready = [p for p in pods if any(c.type == "Ready" and c.status == "True"
                                                for c in p.status.conditions)]  # fmt: skip
                return len(ready) == 4 and {p.spec.node_name for p in ready} == {"w1", "w2"}

            await until(spread, "four pods on two nodes")
            yield Stage(lab, client, made)
            await client.delete(Deployment, "web", "default")
            await client.delete(Service, "web", "default")

            async def empty() -> bool:
                return not (await client.list(Pod, "default")).items

            await until(empty, "no pods are left")
        for name in ("w1", "w2"):  # an agent that speaks for a node that is gone would fail
            await client.delete(Node, name)


async def test_a_power_cut_is_followed_phase_by_phase_and_healed(stage: Stage) -> None:
    result, said = await stage.run(POWER_OFF)
    seconds = {p.key: p.seconds for p in result.timeline.phases}
    assert None not in seconds.values(), seconds
    order = ["fault", "not_ready", "pods_deleted", "replacements_created", "scheduled", "ready"]
    assert [seconds[key] for key in order] == sorted(seconds[key] or 0 for key in order)
    assert result.verdict is Verdict.PASS, result.findings
    assert result.observations.of(ApiWrite)
    assert all(agent.alive for agent in stage.agents.values())
    assert pending(stage.lab.spec.state_dir) == []
    assert [(line.by, line.event) for line in result.undo] == [
        ("drill", "written"), ("drill", "injected"), ("drill", "healed"),
    ]  # fmt: skip
    assert any(line.startswith("power cut of w") for line in said)
    assert report_of(result).lanes[0].spans[0].what == "power cut"
    with pytest.raises(NotFound):  # the API load cleans up after itself
        await stage.client.get(ConfigMap, "drill-load", "default")


async def test_an_interrupted_drill_heals_and_has_a_result(stage: Stage) -> None:
    said: list[str] = []
    concluded: list[Result] = []
    drill = document.parse(POWER_OFF, "test")
    running = asyncio.create_task(
        engine.run(drill, stage.lab, say=said.append, conclude=concluded.append)
    )

    async def broken() -> bool:
        return not all(agent.alive for agent in stage.agents.values())

    await until(broken, "the fault")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert all(agent.alive for agent in stage.agents.values())
    (result,) = concluded
    assert (result.verdict, result.why) == (Verdict.INTERRUPTED, "by the user")
    assert [line.text for line in result.undo if line.event == "healed"] == [
        f"switched on again: {result.case.names}"
    ]
    assert pending(stage.lab.spec.state_dir) == []


async def test_a_drill_aborts_by_its_own_condition_and_heals(stage: Stage) -> None:
    abort = "spec.abort=[{metric: not_ready_nodes, max: 0}]"
    result, said = await stage.run(POWER_OFF, abort)
    assert (result.verdict, result.why) == (Verdict.ABORTED, "not_ready_nodes is 1, over 0")
    assert all(agent.alive for agent in stage.agents.values())
    assert any(line.startswith("taking back: power cut") for line in said)


async def test_a_drained_node_is_emptied_and_taken_back_into_service(stage: Stage) -> None:
    text = POWER_OFF.replace("power-off", "drain")
    result, _ = await stage.run(
        text,
        "spec.recovery.phases=[fault, pods_deleted, replacements_created, scheduled, ready]",
        "spec.wayBack.phases=[healed, old_pods_gone]",
        "spec.levels=[{metric: failed_requests, max: 0}, {metric: not_ready_nodes, max: 0}]",
    )
    assert result.verdict is Verdict.PASS, (result.findings, result.timeline)
    node = await stage.client.get(Node, result.case.victims[0])
    assert not node.spec.unschedulable


async def test_pods_that_are_killed_are_replaced(stage: Stage) -> None:
    text = POWER_OFF.replace("fault: power-off", "fault: kill-pods, pods: 2")
    result, _ = await stage.run(
        text,
        "spec.recovery.phases=[fault, pods_deleted, replacements_created, scheduled, ready]",
        "spec.wayBack.phases=[]",
        "spec.levels=[{metric: not_ready_nodes, max: 0}]",
    )
    assert result.verdict is Verdict.PASS, result.timeline
    assert len(result.case.victim_pods) == 2


async def test_what_is_repeated_aims_anew_and_is_over_in_between(stage: Stage) -> None:
    result, said = await stage.run(
        POWER_OFF,
        "spec.faults[0].repeat=3", "spec.faults[0].durationSeconds=0.2",
        "spec.faults[0].pauseSeconds=0.1", "spec.recovery.phases=[fault, service_answers]",
        "spec.wayBack.phases=[healed, good_after_heal]",
        "spec.levels=[{metric: evicted_pods, max: 0}]",
    )  # fmt: skip
    assert result.verdict is Verdict.PASS
    events = [line.event for line in result.undo]
    assert events == ["written", "injected", "healed"] * 3
    assert sum(line.startswith("power cut of") for line in said) == 3


async def test_no_drill_starts_from_a_state_that_is_not_steady(stage: Stage) -> None:
    stage.agents["w1"].works = lambda pod: False

    async def not_ready() -> bool:
        pods = (await stage.client.list(Pod, "default")).items
        return any(c.type == "Ready" and c.status == "False"
                   for p in pods for c in p.status.conditions)  # fmt: skip

    for pod in (await stage.client.list(Pod, "default")).items:
        if pod.spec.node_name == "w1":
            await stage.client.delete(Pod, pod.metadata.name, "default")
    await until(not_ready, "a pod that is not Ready")
    with pytest.raises(NothingRan, match=r'steady state: pod "web-.*" is not Ready'):
        await stage.run(POWER_OFF, "spec.steadyState.timeoutSeconds=1")
    assert not (stage.lab.spec.state_dir / "drills").exists()
    stage.agents["w1"].works = lambda pod: True


async def test_probes_ask_real_things(stage: Stage) -> None:
    port = (await stage.client.get(Service, "web", "default")).spec.ports[0].node_port
    good = [
        Http(name="a", url=f"http://127.0.0.1:{port}/", contains="hello"),
        Tcp(name="b", host="w1", port=port or 1),
        Command(name="c", command=("true",)),
        Condition(name="d", kind="Node", object="w1"),
    ]
    bad = {
        'does not contain "bye"': Http(name="e", url=f"http://127.0.0.1:{port}/", contains="bye"),
        "status 200, not 404": Http(name="f", url=f"http://127.0.0.1:{port}/", status=404),
        "Connect call failed": Tcp(name="g", host="127.0.0.1", port=1),
        "exit status 1": Command(name="h", command=("false",)),
        "no answer within": Command(name="i", command=("sleep", "60"), timeout_seconds=0.1),
        '"w9" not found': Condition(name="j", kind="Node", object="w9"),
    }
    for probe in good:
        assert (await look(probe, stage.lab)).why == ""
    for words, probe in bad.items():
        seen = await look(probe, stage.lab)
        assert not seen.ok and words in seen.why, (words, seen.why)


def test_a_number_may_depend_on_the_timers() -> None:
    drill = document.find("node-power-off")
    limit = drill.spec.faults[0].limit_seconds
    assert (of(limit, "fast"), of(limit, "kubernetes"), of(3, "fast")) == (120, 900, 3)
