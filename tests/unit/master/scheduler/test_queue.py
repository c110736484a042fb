"""The scheduling queue: order, back-off, and which events wake whom."""

from __future__ import annotations

import random

import msgspec

from kube.api.core import Pod, PodSchedulingGate, PodSpec
from kube.api.meta import ObjectMeta
from master.scheduler.framework import Framework
from master.scheduler.plugin import NODE_ADD, NODE_TAINT, POD_DELETE
from master.scheduler.plugins import default_plugins
from master.scheduler.queue import MAX_UNSCHEDULABLE, SchedulingQueue, Waiting

RULES = Framework(default_plugins(), random.Random(1))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def pod(name: str, priority: int = 0, node_selector: str = "") -> Pod:
    selector = {"disk": node_selector} if node_selector else {}
    return Pod(
        metadata=ObjectMeta(name=name, namespace="ns"),
        spec=PodSpec(priority=priority, node_selector=selector),
    )


def queue_of(clock: Clock, *pods: Pod) -> SchedulingQueue:
    queue = SchedulingQueue(RULES, clock)
    for one in pods:
        queue.add(one)
        clock.now += 0.001
    return queue


def taken(queue: SchedulingQueue) -> Waiting:
    waiting = queue.pop()
    assert waiting is not None
    return waiting


def test_priority_first_then_age() -> None:
    queue = queue_of(Clock(), pod("old"), pod("young"), pod("urgent", 10))
    assert [taken(queue).pod.metadata.name for _ in range(3)] == ["urgent", "old", "young"]
    assert queue.pop() is None


def test_an_unfit_pod_waits_for_an_event_that_may_cure_it() -> None:
    clock = Clock()
    queue = queue_of(clock, pod("a"))
    queue.unfit(taken(queue), frozenset({"NodeResourcesFit"}))
    clock.now += 5
    queue.happened(NODE_TAINT)
    assert queue.pop() is None
    queue.happened(POD_DELETE)
    assert taken(queue).attempts == 2


def test_a_cured_pod_still_waits_out_its_back_off() -> None:
    clock = Clock()
    queue = queue_of(clock, pod("a"))
    queue.unfit(taken(queue), frozenset({"NodeResourcesFit"}))
    queue.happened(NODE_ADD)
    assert queue.pop() is None
    ripe = queue.next_ripe()
    assert ripe is not None
    assert 0.9 < ripe <= 1.0
    clock.now += ripe
    waiting = taken(queue)
    queue.unfit(waiting, frozenset({"NodeResourcesFit"}))
    queue.happened(NODE_ADD)
    clock.now += 1.5
    assert queue.pop() is None  # the second back-off is two seconds
    clock.now += 0.6
    assert queue.pop() is not None


def test_an_event_during_the_attempt_is_not_missed() -> None:
    clock = Clock()
    queue = queue_of(clock, pod("a"))
    waiting = taken(queue)
    queue.happened(NODE_ADD)
    queue.unfit(waiting, frozenset({"NodeResourcesFit"}))
    clock.now += 1.1
    assert queue.pop() is waiting


def test_a_changed_pod_is_tried_again_a_status_write_is_not_a_change() -> None:
    clock = Clock()
    queue = queue_of(clock, pod("a", node_selector="nvme"))
    queue.unfit(taken(queue), frozenset({"NodeAffinity"}))
    clock.now += 5
    queue.add(pod("a", node_selector="nvme"))
    assert queue.pop() is None
    queue.add(pod("a"))
    assert taken(queue).pod.spec.node_selector == {}


def test_nobody_is_forgotten_for_ever() -> None:
    clock = Clock()
    queue = queue_of(clock, pod("a"))
    queue.unfit(taken(queue), frozenset({"NodeName"}))
    clock.now += MAX_UNSCHEDULABLE
    assert queue.pop() is not None


def test_a_removed_pod_is_not_tried() -> None:
    queue = queue_of(Clock(), pod("a"), pod("b"))
    queue.remove("ns/a")
    assert taken(queue).key == "ns/b"
    assert queue.pop() is None


def test_a_gated_pod_is_tried_once_its_gate_is_gone() -> None:
    clock = Clock()
    gated = pod("a")
    gates = (PodSchedulingGate(name="quota"),)
    queue = queue_of(clock, msgspec.structs.replace(gated, spec=PodSpec(scheduling_gates=gates)))
    assert queue.lengths()["gated"] == 1
    queue.happened(NODE_ADD)
    assert queue.pop() is None
    assert queue.next_ripe() is None
    queue.add(gated)
    assert queue.lengths()["gated"] == 0
    assert taken(queue).pod is gated


def test_a_pod_that_is_refused_late_waits_for_its_plugins_events() -> None:
    clock = Clock()
    queue = queue_of(clock, pod("a"), pod("b"))
    late = taken(queue)
    queue.done(late)
    other = taken(queue)
    queue.happened(POD_DELETE, by=late)
    queue.unfit(late, frozenset({"NodeResourcesFit"}))
    assert queue.lengths()["unschedulable"] == 1
    # The one that is being tried did not see the room that the other left.
    queue.unfit(other, frozenset({"NodeResourcesFit"}))
    assert queue.lengths()["backoff"] == 1


def test_what_a_pod_gives_back_does_not_wake_itself() -> None:
    clock = Clock()
    queue = queue_of(clock, pod("a"))
    mine = taken(queue)
    queue.happened(POD_DELETE, by=mine)
    queue.unfit(mine, frozenset({"NodeResourcesFit"}))
    assert queue.lengths()["unschedulable"] == 1
