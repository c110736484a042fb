"""The framework's verbs: in which order plugins are asked, what ends it, and what is given back."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kube.api.core import Container, Node, NodeStatus, Pod, PodSchedulingGate, PodSpec
from kube.api.meta import ObjectMeta
from master.scheduler.cache import Cache
from master.scheduler.framework import (
    LONGEST_HOLD_SECONDS,
    Decision,
    Framework,
    NoBinder,
    Refusal,
    explain,
)
from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import (
    SKIP,
    Cycle,
    Hold,
    Narrowed,
    Nominated,
    Plugin,
    Rejection,
    Skip,
    has,
)
from master.scheduler.plugins.prioritysort import PrioritySort
from master.scheduler.plugins.schedulinggates import SchedulingGates
from master.scheduler.podinfo import PodInfo, pod_info

NO = Rejection(("no",))


class Recorder(Plugin):
    """Writes down what it is asked, and answers what it was told to."""

    def __init__(self, name: str, log: list[str], **answers: Any) -> None:
        self.name, self._log, self._answers = name, log, answers

    def _say(self, verb: str, default: Any = None) -> Any:
        self._log.append(f"{self.name}.{verb}")
        answer = self._answers.get(verb, default)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pre_filter(self, cycle: Cycle) -> Any:
        return self._say("pre_filter")

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        answer: Rejection | None = self._say(f"filter {node.name} {state}")
        return answer or self._answers.get("filter")

    def post_filter(
        self, cycle: Cycle, rejections: Mapping[str, Rejection]
    ) -> Nominated | Rejection | None:
        answer: Nominated | Rejection | None = self._say("post_filter")
        return answer

    def pre_score(self, cycle: Cycle, feasible: Sequence[NodeInfo]) -> Any:
        return self._say("pre_score")

    def score(self, pod: PodInfo, node: NodeInfo, state: Any) -> float:
        self._say(f"score {node.name} {state}")
        return float(self._answers.get("score", {}).get(node.name, 0))

    def normalize(self, scores: list[float]) -> list[float]:
        self._say("normalize")
        return scores

    def reserve(self, cycle: Cycle, node: str) -> Rejection | None:
        answer: Rejection | None = self._say("reserve")
        return answer

    def unreserve(self, cycle: Cycle, node: str) -> None:
        self._say("unreserve")

    def permit(self, cycle: Cycle, node: str) -> Rejection | Hold | None:
        answer: Rejection | Hold | None = self._say("permit")
        return answer

    async def pre_bind(self, cycle: Cycle, node: str) -> Rejection | None:
        answer: Rejection | None = self._say("pre_bind")
        return answer

    async def bind(self, cycle: Cycle, node: str) -> Skip | None:
        answer: Skip | None = self._say("bind")
        return answer

    def post_bind(self, cycle: Cycle, node: str) -> None:
        self._say("post_bind")


def framework(*plugins: Plugin) -> Framework:
    return Framework([PrioritySort(), *plugins], random.Random(1))


def nodes(*names: str) -> list[NodeInfo]:
    cache = Cache()
    for name in names:
        status = NodeStatus(allocatable={"cpu": "4", "pods": "10"})
        cache.set_node(Node(metadata=ObjectMeta(name=name), status=status))
    return cache.nodes()


def a_pod(**spec: Any) -> Pod:
    meta = ObjectMeta(name="web", namespace="ns", uid="u1")
    return Pod(metadata=meta, spec=PodSpec(containers=(Container(name="c"),), **spec))


def decide(made: Framework, *names: str) -> Decision:
    return made.schedule(pod_info(a_pod()), nodes(*names))


def test_plugins_are_asked_in_turn_verb_by_verb() -> None:
    log: list[str] = []
    made = framework(
        Recorder("A", log, pre_filter=1, pre_score=2, score={"n2": 5}),
        Recorder("B", log, pre_filter=3, pre_score=4),
    )
    assert decide(made, "n1", "n2").node == "n2"
    assert log == [
        "A.pre_filter", "B.pre_filter",
        "A.filter n1 1", "B.filter n1 3", "A.filter n2 1", "B.filter n2 3",
        "A.pre_score", "B.pre_score",
        "A.score n1 2", "A.score n2 2", "A.normalize",
        "B.score n1 4", "B.score n2 4", "B.normalize",
    ]  # fmt: skip


def test_one_feasible_node_is_not_scored() -> None:
    log: list[str] = []
    assert decide(framework(Recorder("A", log)), "n1").node == "n1"
    assert log == ["A.pre_filter", "A.filter n1 None"]


def test_skipping_in_pre_filter_skips_filter_but_not_score() -> None:
    log: list[str] = []
    decide(framework(Recorder("A", log, pre_filter=SKIP)), "n1", "n2")
    assert [said for said in log if said.startswith("A.filter")] == []
    assert "A.score n1 None" in log


def test_skipping_in_pre_score_skips_score() -> None:
    log: list[str] = []
    decide(framework(Recorder("A", log, pre_score=SKIP)), "n1", "n2")
    assert log[-1] == "A.pre_score"


def test_the_first_filter_that_rejects_ends_it_for_that_node() -> None:
    log: list[str] = []
    decision = decide(framework(Recorder("A", log, filter=NO), Recorder("B", log)), "n1", "n2")
    assert not any("B.filter" in said for said in log)
    assert decision.plugins == {"A"}
    assert explain(decision).startswith("0/2 nodes are available: 2 no. preemption: ")


def test_a_rejecting_pre_filter_speaks_for_all_nodes() -> None:
    log: list[str] = []
    decision = decide(framework(Recorder("A", log, pre_filter=NO), Recorder("B", log)), "n1", "n2")
    assert log == ["A.pre_filter", "A.post_filter", "B.post_filter"]
    assert decision.plugins == {"A"}
    assert explain(decision) == (
        "0/2 nodes are available: no. preemption: 0/2 nodes are available: "
        "2 Preemption is not helpful for scheduling."
    )


def test_narrowed_nodes_are_what_all_plugins_leave() -> None:
    log: list[str] = []
    both = framework(
        Recorder("A", log, pre_filter=Narrowed(frozenset({"n1", "n2"}), "s")),
        Recorder("B", log, pre_filter=Narrowed(frozenset({"n2", "n3"}))),
    )
    assert decide(both, "n1", "n2", "n3").node == "n2"
    assert "A.filter n2 s" in log
    assert not any("n1" in said or "n3" in said for said in log)
    nowhere = decide(framework(Recorder("A", log, pre_filter=Narrowed(frozenset()))), "n1")
    assert nowhere.plugins == {"A"}
    assert "1 node(s) didn't satisfy the prefilter result" in explain(nowhere)


def test_post_filter_ends_with_the_first_that_nominates() -> None:
    log: list[str] = []
    made = framework(
        Recorder("A", log, filter=NO, post_filter=Rejection(("A saw no way.",))),
        Recorder("B", log, post_filter=Nominated("n1")),
        Recorder("C", log),
    )
    decision = decide(made, "n1")
    assert decision.nominated == "n1"
    assert decision.node == ""
    assert log[-2:] == ["A.post_filter", "B.post_filter"]
    assert explain(decision) == "0/1 nodes are available: 1 no. A saw no way."


def test_a_refused_reservation_asks_no_further() -> None:
    log: list[str] = []
    made = framework(Recorder("A", log), Recorder("B", log, reserve=NO), Recorder("C", log))
    cycle = Cycle(pod_info(a_pod()), nodes("n1"))
    assert made.reserve(cycle, "n1") == Refusal("B", NO)
    assert log == ["A.reserve", "B.reserve"]


def test_unreserving_goes_backwards_over_all_also_those_that_reserved_nothing() -> None:
    log: list[str] = []
    made = framework(Recorder("A", log), Recorder("B", log), Recorder("C", log))
    made.unreserve(Cycle(pod_info(a_pod()), nodes("n1")), "n1")
    assert log == ["C.unreserve", "B.unreserve", "A.unreserve"]


def test_permit_gathers_holds_until_one_refuses() -> None:
    log: list[str] = []
    cycle = Cycle(pod_info(a_pod()), nodes("n1"))
    held = framework(
        Recorder("A", log, permit=Hold(5)), Recorder("B", log), Recorder("C", log, permit=Hold(9e9))
    )
    assert held.permit(cycle, "n1") == {"A": 5, "C": LONGEST_HOLD_SECONDS}
    refusing = framework(Recorder("A", log, permit=Hold(5)), Recorder("B", log, permit=NO))
    assert refusing.permit(cycle, "n1") == Refusal("B", NO)


async def test_the_first_binder_that_does_not_skip_binds() -> None:
    log: list[str] = []
    made = framework(Recorder("A", log, bind=SKIP), Recorder("B", log), Recorder("C", log))
    await made.bind(Cycle(pod_info(a_pod()), nodes("n1")), "n1")
    assert log == ["A.bind", "B.bind"]


async def test_a_pod_that_every_binder_skips_is_an_error() -> None:
    made = framework(Recorder("A", [], bind=SKIP))
    with pytest.raises(NoBinder, match='no plugin binds pod "ns/web"'):
        await made.bind(Cycle(pod_info(a_pod()), nodes("n1")), "n1")


async def test_the_first_refusal_before_binding_ends_it() -> None:
    log: list[str] = []
    made = framework(Recorder("A", log, pre_bind=NO), Recorder("B", log))
    assert await made.pre_bind(Cycle(pod_info(a_pod()), nodes("n1")), "n1") == Refusal("A", NO)
    assert log == ["A.pre_bind"]


def test_one_plugin_sorts_the_queue() -> None:
    with pytest.raises(ValueError, match="not none"):
        Framework([], random.Random(1))
    with pytest.raises(ValueError, match="PrioritySort, PrioritySort"):
        Framework([PrioritySort(), PrioritySort()], random.Random(1))


def test_what_is_not_overridden_is_not_a_verb_of_the_plugin() -> None:
    assert has(SchedulingGates(), "pre_enqueue")
    assert not has(SchedulingGates(), "filter")


def test_a_gate_keeps_a_pod_out() -> None:
    made = framework(SchedulingGates())
    gates = (PodSchedulingGate(name="quota"), PodSchedulingGate(name="licence"))
    refusal = made.pre_enqueue(a_pod(scheduling_gates=gates))
    assert refusal is not None
    assert refusal.plugin == "SchedulingGates"
    assert str(refusal) == "waiting for scheduling gates: [quota licence]"
    assert made.pre_enqueue(a_pod()) is None
