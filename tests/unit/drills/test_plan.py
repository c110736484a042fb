"""Whom a drill hits, when it may not, and what its document says."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from drills import document, engine
from drills.course import aborts
from drills.errors import NothingRan
from drills.events import ProbeSeen, Seen
from drills.faults import ALL, HitPod, tag
from drills.faults.freeze import Freeze
from drills.faults.kill_pods import KillPods
from drills.faults.loss import Loss
from drills.faults.partition import Partition
from drills.faults.power_off import PowerOff
from drills.faults.stop_component import StopComponent
from drills.journal import Journal
from drills.plan import Aim, LabView, aim, check
from drills.probes import dns, promql
from drills.skeleton import SKELETON
from drills.spec import Abort, Guard
from drills.targets import Candidate, NoTarget, Target, choose, how_many
from drills.timeline import Timeline
from drills.workload import example
from kube.api.core import Pod
from provision.errors import LabFileError
from tests.unit.drills.test_journal import lab_of, undo

LAB = (
    Candidate("m1", "master", labels={"zone": "a"}),
    Candidate("m2", "master", labels={"zone": "b"}),
    Candidate("m3", "master"),
    Candidate("w1", "worker", 1, {"disk": "ssd", "topology.kubernetes.io/zone": "a"}),
    Candidate("w2", "worker", 3, {"topology.kubernetes.io/zone": "b"}),
)


class View:
    candidates = LAB

    async def leader_of(self, what: str) -> str:
        return {"store": "m2", "kube-scheduler": "m3"}.get(what, "")


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        (Target(), ["m1"]),
        (Target(names=("w2", "m1")), ["m1", "w2"]),
        (Target(role="worker"), ["w1"]),
        (Target(role="worker", pick="all"), ["w1", "w2"]),
        (Target(role="worker", pick="most-pods"), ["w2"]),
        (Target(labels="disk=ssd"), ["w1"]),
        (Target(zone="b"), ["w2"]),
        (Target(leader_of="store"), ["m2"]),
        (Target(role="master", not_leader_of="store", pick="all"), ["m1", "m3"]),
        (Target(role="master", count=2), ["m1", "m2"]),
        (Target(role="master", percent=34), ["m1", "m2"]),
    ],
)
async def test_a_target_is_narrowed_by_its_filters_and_picked_from(
    target: Target, chosen: list[str]
) -> None:
    assert sorted(await choose(target, View(), Random(1))) == sorted(chosen)


async def test_a_choice_by_chance_is_the_same_for_the_same_seed() -> None:
    target = Target(pick="random", count=2)
    first = await choose(target, View(), Random(7))
    assert first == await choose(target, View(), Random(7))
    assert len(set(first)) == 2


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target(names=("w9",)), 'no machine "w9"'),
        (Target(role="worker", zone="c"), "a worker and in zone c"),
        (Target(leader_of="kube-controller-manager"), "leader of kube-controller-manager"),
        (Target(role="master", pick="most-pods"), "runs a pod of the workload"),
    ],
)
async def test_a_target_that_nothing_fits_is_refused_in_words(target: Target, why: str) -> None:
    with pytest.raises(NoTarget, match=why) as refused:
        await choose(target, View(), Random(1))
    assert refused.value.exit_code == 2


def test_a_share_is_rounded_up_and_never_nothing() -> None:
    assert [how_many(Target(percent=p), 3) for p in (1, 34, 100)] == [1, 2, 3]


def test_pods_are_lost_to_a_fault_only_when_it_takes_them() -> None:
    """Of two faults at once one only slows a machine down: its pods are not waited for."""
    pods = [HitPod("default", "a", "1", "w1"), HitPod("default", "b", "2", "w1")]
    assert PowerOff().hits(pods) == tuple(pods)
    assert Loss().hits(pods) == ()
    assert KillPods(pods=1).hits(pods) == (pods[0],)
    assert StopComponent(component="kubelet").hits(pods) == tuple(pods)
    assert StopComponent(component="proxy").hits(pods) == ()


async def test_the_other_side_of_a_partition_is_all_others_or_the_named() -> None:
    view = LabView.__new__(LabView)
    object.__setattr__(view, "candidates", LAB)
    fault = Partition(target=Target(names=("m1",)))
    assert (await aim(fault, view, {}, Random(1))).others == ("m2", "m3", "w1", "w2")
    named = Partition(target=Target(names=("m1",)), other=Target(names=("m2", "m1")))
    assert (await aim(named, view, {}, Random(1))).others == ("m2",)


def refuse(*victims: str, pods: str = "w1 w2", guard: Guard | None = None, **kinds: object) -> str:
    """What the guard says of taking these machines; "" when it lets them go."""
    view = LabView.__new__(LabView)
    object.__setattr__(view, "candidates", LAB)
    on = {name: [Pod()] for name in pods.split()}
    fault = kinds.get("fault", PowerOff())
    assert isinstance(fault, PowerOff | Partition | Freeze)
    try:
        check(guard or Guard(), [(fault, Aim(victims, ()))], view, on, "default/hello")
    except NothingRan as error:
        return str(error)
    return ""


def test_the_guard_keeps_quorum_the_last_replica_and_half_of_the_machines() -> None:
    assert refuse("m1") == ""
    assert "lose its quorum" in refuse("m1", "m2")
    assert refuse("m1", "m2", guard=Guard(allow_quorum_loss=True)) == ""
    assert "no endpoint would be left" in refuse("w1", pods="w1")
    assert refuse("w1", pods="w1", guard=Guard(allow_last_replica=True)) == ""
    assert "more than the drill's 50 %" in refuse("m1", "w1", "w2", pods="")
    assert refuse("w1", "w2", fault=Partition()) == "", "a partition takes no machine away"


async def test_a_drill_beside_another_is_refused_at_once(tmp_path: Path) -> None:
    """Two drills at once would spoil both judgements; one that was killed is healed first."""
    Journal(tmp_path / "drills" / "run").write(undo("1"))
    with pytest.raises(NothingRan, match=r"another drill .* is not over: fault 1") as refused:
        await engine.run(
            document.find("node-power-off"), lab_of(tmp_path), say=print, conclude=print
        )
    assert refused.value.exit_code == 2
    assert "drill heal" in refused.value.hint


def test_a_drill_says_how_many_masters_it_needs(tmp_path: Path) -> None:
    drill = document.find("node-power-off", ["spec.minMasters=3"])
    with pytest.raises(NothingRan, match="needs 3 masters, the lab has 1"):
        engine.refuse(drill, lab_of(tmp_path, None, "master", "worker"))


# -- the document

HEAD = "apiVersion: muster/v1\nkind: Drill\nmetadata: {name: x}\nspec:\n"
FAULT = "  faults: [{fault: loss}]\n"


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("metadata: {name: x, colour: red}\nspec: {}", "metadata.colour: unknown field", "name"),
        ("  faults: [{fault: los}]", 'spec.faults[0].fault: unknown value "los"', "or loss or"),
        ("  faults: [{fault: loss, percant: 3}]", "spec.faults[0].percant: unknown field",
         'did you mean "percent"'),
        ("  faults: [{fault: loss, kbit: 3}]", "spec.faults[0].kbit: unknown field", "percent"),
        ("  faults: [{fault: loss, target: {role: boss}}]", 'target.role: unknown value "boss"',
         "use master or worker"),
        ("  faults: []", "spec.faults: expected a list of length >= 1", ""),
        ("  faults: [{fault: freeze, repeat: 3}]", "spec.faults[0].durationSeconds: missing",
         "end in between"),
        (FAULT + "  recovery: {phases: [fault, redy]}", 'spec.recovery.phases[1]: unknown phase',
         'did you mean "ready"'),
        (FAULT + "  levels: [{metric: failed_request, max: 1}]", "spec.levels[0].metric: unknown",
         'did you mean "failed_requests"'),
        (FAULT + "  levels: [{metric: failed_requests}]", "a level needs max or min", "max"),
        (FAULT + "  abort: [{failures: 3}]", "spec.abort[0]: give it a metric or a probe", ""),
        (FAULT + "  abort: [{probe: web}]", 'spec.abort[0].probe: unknown probe "web"', "none"),
        (FAULT + "  steadyState: {probes: [{probe: tcp, name: a, host: b, port: 99999}]}",
         "spec.steadyState.probes[0].port: expected", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_path_and_a_hint(text: str, said: str, hint: str) -> None:
    head = HEAD if text.startswith("  ") else "apiVersion: muster/v1\nkind: Drill\n"
    with pytest.raises(LabFileError) as refused:
        document.parse(head + text, "x.yaml")
    assert said in refused.value.message
    assert refused.value.message.startswith("x.yaml: ")
    assert hint in refused.value.hint


def test_settings_go_over_the_documents_words() -> None:
    drill = document.find(
        "node-power-off", ["spec.load.requestsPerSecond=50", "spec.faults[0].target.role=master"]
    )
    assert drill.spec.load.requests_per_second == 50
    assert drill.spec.faults[0].target.role == "master"
    with pytest.raises(LabFileError, match=r"--set spec.faults\[7\].x: there is no such place"):
        document.find("node-power-off", ["spec.faults[7].x=1"])


def test_the_skeleton_is_a_drill() -> None:
    drill = document.parse(SKELETON, "skeleton")
    assert drill.metadata.name == "my-drill"


def test_every_drill_of_the_catalog_is_named_after_its_file_and_explains_itself() -> None:
    for name, text in document.catalog_texts():
        drill = document.parse(text, name)
        assert drill.metadata.name == name
        assert drill.metadata.description and drill.spec.learn and drill.spec.levels
        assert drill.spec.recovery.phases


def test_a_drill_survives_being_written_out_in_full() -> None:
    for drill in document.catalog():
        assert document.parse(document.as_yaml(drill), drill.metadata.name) == drill


def test_every_fault_has_a_title_and_says_what_it_needs() -> None:
    assert len({tag(kind) for kind in ALL}) == len(ALL)
    for kind in ALL:
        assert kind.title and kind.__doc__
        assert kind.needs != type(kind.needs)(), f"{tag(kind)} needs nothing"


# -- probes and abort conditions


def test_an_abort_condition_looks_at_a_figure_or_at_a_probe() -> None:
    line = Timeline((), {"failed_requests": 5.0})
    seen = Seen()
    for ok in (True, False, False):
        seen.note(ProbeSeen(1.0, "web", ok, "" if ok else "refused"))
    assert aborts(Abort(metric="failed_requests", max=5), line, seen, "fast") == ""
    assert "over 4" in aborts(Abort(metric="failed_requests", max=4), line, seen, "fast")
    assert aborts(Abort(probe="web", failures=3), line, seen, "fast") == ""
    assert "refused" in aborts(Abort(probe="web", failures=2), line, seen, "fast")


def test_a_dns_answer_is_read() -> None:
    asked = dns.query(7, "hello.default.svc")
    assert asked[12:] == b"\x05hello\x07default\x03svc\x00\x00\x01\x00\x01"
    assert dns.verdict(asked, asked[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00") == ""
    assert dns.verdict(asked, asked[:2] + b"\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00") == "NXDOMAIN"
    assert "another question" in dns.verdict(asked, b"\x00\x00" + asked[2:])


def test_a_promql_answer_holds_with_samples_only() -> None:
    assert promql.holds({"status": "success", "data": {"result": [1]}}) == ""
    assert promql.holds({"status": "success", "data": {"result": []}}) == "no sample"
    assert "parse error" in promql.holds({"status": "error", "error": "parse error"})


def test_the_example_workload_comes_along_with_the_package() -> None:
    kinds = [(doc["kind"], doc["metadata"]["name"]) for doc in example()]
    assert kinds == [("Deployment", "hello"), ("Service", "hello")]
