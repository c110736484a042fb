"""The drill's judgement: phases from observations, figures, verdict."""

from __future__ import annotations

import pytest

from drills import document, timeline
from drills.base import ByProfile
from drills.events import (
    ApiWrite,
    Case,
    ComponentSeen,
    EndpointsSeen,
    LeaderSeen,
    LeaseSeen,
    NodeSeen,
    Observations,
    PodSeen,
    ProbeSeen,
    Request,
    RulesSeen,
    StoreSeen,
)
from drills.observers.rules import LAST_SYNC
from drills.observers.scrape import sample
from drills.phases import ALL, BY_KEY
from drills.phases.pods import replacements
from drills.spec import Level
from drills.timeline import Timeline, longest_gap
from drills.verdict import Verdict, judge

T0 = 1000.0
KEYS = document.find("node-power-off").phases


def pod(at: float, uid: str, node: str = "w1", **flags: bool) -> PodSeen:
    given = {"deleting": False, "running": True, "ready": True} | flags
    return PodSeen(at=at, uid=uid, name=f"web-{uid}", node=node, **given)


EVENTS: tuple[object, ...] = (
    # A failure of w2 that takes one pod, `b`; `c` replaces it; then w2 returns.
    LeaseSeen(999, "w2", T0 - 0.4),
    LeaseSeen(999, "w1", T0 + 3),
    NodeSeen(999, "w2", True, False),
    NodeSeen(T0 + 4, "w2", False, False),
    NodeSeen(T0 + 4.1, "w2", False, True),
    NodeSeen(T0 + 13, "w2", True, True),
    NodeSeen(T0 + 14, "w2", True, False),
    pod(999, "a"),
    pod(999, "b", "w2"),
    pod(T0 + 5, "b", "w2", deleting=True, ready=False),
    pod(T0 + 5.1, "c", "", running=False, ready=False),
    pod(T0 + 5.2, "c", "w1", running=False, ready=False),
    pod(T0 + 6, "c", "w1", ready=False),
    pod(T0 + 7, "c", "w1"),
    pod(T0 + 15, "b", "w2", gone=True),
    EndpointsSeen(999, frozenset("ab")),
    EndpointsSeen(T0 + 4.2, frozenset("a")),
    EndpointsSeen(T0 + 7.1, frozenset("ac")),
    RulesSeen(T0 + 4.5, "m1", T0 + 4.4),
    RulesSeen(T0 + 4.6, "w1", T0 + 4.5),
    RulesSeen(T0 + 7.3, "m1", T0 + 7.2),
    RulesSeen(T0 + 7.4, "w1", T0 + 7.3),
    Request(T0 - 1, T0 - 0.99, True, "m1", "b"),
    Request(T0 + 1, T0 + 2, False, "m1", "timed out"),
    Request(T0 + 5, T0 + 5.01, True, "w1", "a"),
    Request(T0 + 7.5, T0 + 7.51, True, "w1", "c"),
)
CASE = Case(("w2",), frozenset("b"), ("m1", "w1"), T0, T0 + 12)


def build(*more: object, case: Case = CASE, keys: tuple[str, ...] = KEYS) -> Timeline:
    return timeline.build(case, Observations([*EVENTS, *more]), keys, ("web",))


def test_every_phase_of_a_recovery_is_stamped_relative_to_the_fault() -> None:
    line = build()
    assert {p.key: p.seconds for p in line.phases} == {
        "last_lease": -0.4,
        "fault": 0,
        "not_ready": 4,
        "tainted": 4.1,
        "endpoints_withdrawn": 4.2,
        "rules_withdrawn": 4.6,
        "pods_deleted": 5,
        "replacements_created": 5.1,
        "scheduled": 5.2,
        "started": 6,
        "ready": 7,
        "endpoints_published": 7.1,
        "rules_synced": 7.4,
        "first_good_request": 7.51,
        "power_on": 12,
        "rejoined": 13,
        "untainted": 14,
        "old_pods_gone": 15,
    }
    assert line.metrics["failed_requests"] == 1
    assert line.metrics["failed_requests_after_withdrawal"] == 0
    assert line.metrics["rejoined_seconds"] == 1
    assert line.metrics["replacements_running_seconds"] == 6


def test_each_phase_says_how_long_it_took_since_the_one_before() -> None:
    took = {p.key: p.took for p in build().phases}
    assert (took["last_lease"], took["fault"]) == (None, None)
    assert (took["not_ready"], took["tainted"], took["power_on"]) == (4, 0.1, 4.49)


def test_every_phase_names_the_event_that_it_is_read_from() -> None:
    assert len(BY_KEY) == len(ALL)
    assert all(kind.title and kind.source for kind in ALL)
    assert all(phase.source for phase in build().phases)


def test_a_node_that_is_ready_has_rejoined_though_its_taint_goes_only_later() -> None:
    """Level and phase are read from one mark; they were two, and the verdict was wrong."""
    early = [e for e in EVENTS if not (isinstance(e, NodeSeen) and e.at == T0 + 14)]
    line = timeline.build(CASE, Observations(early), KEYS)
    assert line.seconds("untainted") is None
    assert line.seconds("rejoined") == 13
    assert line.metrics["rejoined_seconds"] == 1


def test_a_failure_between_the_withdrawal_and_the_synced_rules_is_told_apart() -> None:
    line = build(Request(T0 + 4.3, T0 + 5.3, False, "w1", "timed out"))
    assert line.metrics["failed_requests_while_rules_synced"] == 1
    assert line.metrics["failed_requests_after_withdrawal"] == 0


def test_a_failure_after_the_rules_were_synced_counts_as_late() -> None:
    line = build(Request(T0 + 4.7, T0 + 5.7, False, "w1", "timed out"))
    assert line.metrics["failed_requests_after_withdrawal"] == 1


def test_rules_count_as_synced_only_when_every_survivor_has_synced() -> None:
    only_m1 = [e for e in EVENTS if not (isinstance(e, RulesSeen) and e.node == "w1")]
    line = timeline.build(CASE, Observations(only_m1), KEYS)
    assert line.seconds("rules_withdrawn") is None
    assert line.seconds("first_good_request") is None
    assert line.metrics["failed_requests_after_withdrawal"] is None


def test_a_node_that_heard_of_a_change_before_this_host_has_synced_it() -> None:
    """Its own clock says 20 ms before the watch told us; the next sync was 13 s later."""
    early = [e for e in EVENTS if not (isinstance(e, RulesSeen) and e.at > T0 + 7)]
    synced = [RulesSeen(T0 + 7.08, "m1", T0 + 7.07), RulesSeen(T0 + 20, "m1", T0 + 20),
              RulesSeen(T0 + 7.3, "w1", T0 + 7.2)]  # fmt: skip
    line = timeline.build(CASE, Observations([*early, *synced]), KEYS)
    assert line.seconds("rules_synced") == 7.3
    alone = timeline.build(CASE, Observations([*early, synced[0], synced[0]]), KEYS)
    assert alone.seconds("rules_synced") is None


def test_pods_that_were_there_before_the_fault_are_no_replacements() -> None:
    assert replacements(CASE, Observations(EVENTS).of(PodSeen)) == frozenset("c")


def test_replacements_run_only_when_there_are_as_many_as_were_lost() -> None:
    lost = Case(("w2",), frozenset("bd"), ("m1", "w1"), T0)
    assert build(pod(999, "d", "w2"), case=lost).seconds("started") is None
    both = build(pod(999, "d", "w2"), pod(T0 + 9, "e"), case=lost)
    assert both.seconds("started") == 9


def test_with_several_victims_a_phase_is_that_of_the_last() -> None:
    both = Case(("w2", "w3"), frozenset("b"), ("m1",), T0, T0 + 12)
    assert build(case=both).seconds("not_ready") is None
    assert build(NodeSeen(T0 + 9, "w3", False, True), case=both).seconds("not_ready") == 9


def test_the_control_planes_own_recovery_is_read_from_its_own_words() -> None:
    case = Case(("m1",), frozenset(), ("m2", "m3"), T0, T0 + 12)
    keys = ("store_leader_lost", "store_leader_elected", "scheduler_taken_over", "members_back")
    line = build(
        StoreSeen(T0 - 9, "m1", True, True, True),
        StoreSeen(T0 - 9, "m2", True, False, True),
        LeaderSeen(T0 - 9, "kube-scheduler", "m1_x"),
        StoreSeen(T0 + 0.2, "m1", False),
        StoreSeen(T0 + 0.9, "m2", True, True, True),
        LeaderSeen(T0 + 3, "kube-scheduler", "m2_y"),
        StoreSeen(T0 + 14, "m1", True, False, True),
        case=case, keys=keys,
    )  # fmt: skip
    assert [p.seconds for p in line.phases] == [0.2, 0.9, 3, 14]
    assert [p.detail for p in line.phases[1:3]] == ["m2", "m2_y"]


def test_a_leader_is_elected_although_the_old_one_that_is_cut_off_still_claims_to_lead() -> None:
    case = Case(("m1",), frozenset(), ("m2",), T0)
    keys = ("store_leader_lost", "store_leader_elected")
    before = StoreSeen(T0 - 9, "m1", True, True, True)
    assert build(before, case=case, keys=keys).seconds("store_leader_elected") is None
    line = build(before, StoreSeen(T0 + 1.1, "m2", True, True, True), case=case, keys=keys)
    assert [p.seconds for p in line.phases] == [None, 1.1]


def test_a_component_is_back_only_after_it_was_down() -> None:
    case = Case(("w2", "w1"), frozenset(), ("m1",), T0, components=(("w2", "kubelet"),))
    keys = ("component_down", "component_back")
    up = ComponentSeen(T0 - 1, "w2", "kubelet", True)
    assert build(up, case=case, keys=keys).seconds("component_back") is None
    line = build(
        up, ComponentSeen(T0 + 0.1, "w2", "kubelet", False),
        ComponentSeen(T0 + 1.5, "w2", "kubelet", True), case=case, keys=keys,
    )  # fmt: skip
    assert [p.seconds for p in line.phases] == [0.1, 1.5]


def test_gaps_of_the_api_and_failures_of_probes_are_figures() -> None:
    line = build(
        *(ApiWrite(T0 + t, T0 + t, t != 2, "api", "200") for t in (1, 2, 3.5)),
        ProbeSeen(T0 + 1, "web", True),
        ProbeSeen(T0 + 2, "web", False, "refused"),
        ProbeSeen(T0 + 4, "web", True),
    )
    assert line.metrics["api_longest_gap_seconds"] == 2.5
    assert line.metrics["failed_api_writes"] == 1
    assert (line.metrics["web_failures"], line.metrics["web_longest_failure_seconds"]) == (1, 2)
    assert line.metrics["requests"] == 3, "writes are counted apart"


def test_what_a_fault_should_not_cause_is_counted() -> None:
    assert build().metrics["evicted_pods"] == 1
    assert build().metrics["not_ready_nodes"] == 1


@pytest.mark.parametrize(
    ("measured", "severity", "verdict", "code"),
    [
        (5.0, "fail", Verdict.PASS, 0),
        (11.0, "fail", Verdict.FAIL, 1),
        (11.0, "warn", Verdict.WARN, 3),
        (None, "fail", Verdict.FAIL, 1),
    ],
)
def test_verdict_follows_the_worst_broken_level(
    measured: float | None, severity: str, verdict: Verdict, code: int
) -> None:
    level = Level(metric="m", max=ByProfile(fast=10, kubernetes=300), severity=severity)  # type: ignore[arg-type]
    found, findings = judge([level], {"m": measured}, "fast")
    assert (found, found.exit_code) == (verdict, code)
    assert findings[0].met is (verdict is Verdict.PASS)


def test_a_level_may_have_a_lower_limit() -> None:
    assert judge([Level(metric="m", min=3)], {"m": 2}, "fast")[0] is Verdict.FAIL
    assert judge([Level(metric="m", min=3, max=4)], {"m": 3}, "fast")[0] is Verdict.PASS


def test_a_sample_is_read_by_its_exact_name() -> None:
    text = f"# HELP {LAST_SYNC} x\n{LAST_SYNC}_other 1\n{LAST_SYNC} 1.5e3\n"
    assert sample(text, LAST_SYNC) == 1500
    assert sample("", LAST_SYNC) is None


def test_an_outage_begins_with_the_last_good_answer_before_the_fault() -> None:
    def api(ended: float, ok: bool = True) -> ApiWrite:
        return ApiWrite(ended - 0.1, ended, ok, "api", "200")

    before, failed, after = [api(1.0), api(2.0)], [api(3.0, False), api(6.0, False)], [api(6.5)]
    assert longest_gap([*before, *failed, *after, api(6.6)], since=2.5) == 4.5
    # One that never ends counts too, and what was before the fault does not.
    assert longest_gap([*before, *failed], since=2.5) == 4.0
    assert longest_gap([api(-9.0), *before, api(2.7), api(3.0)], since=2.5) == 0.7
    assert longest_gap(failed, since=2.5) is None
