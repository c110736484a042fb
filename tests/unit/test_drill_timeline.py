"""The drill's judgement: phases from observations, figures, verdict, report."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from muster.api.core import Pod
from muster.client.client import Client
from muster.component.tls import TlsFiles
from provision.drills import engine, html, report, spec, timeline
from provision.drills.journal import Journal, Undo, pending
from provision.drills.lab import DrillLab
from provision.drills.observe import LAST_SYNC, sample
from provision.drills.result import Result
from provision.drills.timeline import (
    Case,
    EndpointsSeen,
    LeaseSeen,
    NodeSeen,
    Observations,
    PodSeen,
    Request,
    RulesSeen,
)
from provision.drills.verdict import Verdict, judge
from provision.drills.workload import NothingRan, Workload
from provision.errors import LabFileError
from provision.providers.base import LabNetwork, LabSpec, MachineSpec
from provision.providers.local.provider import LocalProvider

T0 = 1000.0


def pod(at: float, uid: str, node: str = "w1", **flags: bool) -> PodSeen:
    given = {"deleting": False, "running": True, "ready": True} | flags
    return PodSeen(at=at, uid=uid, name=f"web-{uid}", node=node, **given)


def observations() -> Observations:
    """A failure of w2 that takes one pod, `b`; `c` replaces it; then w2 returns."""
    return Observations(
        leases=(LeaseSeen(999, "w2", T0 - 0.4), LeaseSeen(999, "w1", T0 + 3)),
        nodes=(
            NodeSeen(999, "w2", True, False),
            NodeSeen(T0 + 4, "w2", False, False),
            NodeSeen(T0 + 4.1, "w2", False, True),
            NodeSeen(T0 + 13, "w2", True, True),
            NodeSeen(T0 + 14, "w2", True, False),
        ),
        pods=(
            pod(999, "a"),
            pod(999, "b", "w2"),
            pod(T0 + 5, "b", "w2", deleting=True, ready=False),
            pod(T0 + 5.1, "c", "", running=False, ready=False),
            pod(T0 + 5.2, "c", "w1", running=False, ready=False),
            pod(T0 + 6, "c", "w1", ready=False),
            pod(T0 + 7, "c", "w1"),
            pod(T0 + 15, "b", "w2", gone=True),
        ),
        endpoints=(
            EndpointsSeen(999, frozenset("ab")),
            EndpointsSeen(T0 + 4.2, frozenset("a")),
            EndpointsSeen(T0 + 7.1, frozenset("ac")),
        ),
        rules=(
            RulesSeen(T0 + 4.5, "m1", T0 + 4.4),
            RulesSeen(T0 + 4.6, "w1", T0 + 4.5),
            RulesSeen(T0 + 7.3, "m1", T0 + 7.2),
            RulesSeen(T0 + 7.4, "w1", T0 + 7.3),
        ),
        requests=(
            Request(T0 - 1, T0 - 0.99, True, "m1", "b"),
            Request(T0 + 1, T0 + 2, False, "m1", "timed out"),
            Request(T0 + 5, T0 + 5.01, True, "w1", "a"),
            Request(T0 + 7.5, T0 + 7.51, True, "w1", "c"),
        ),
    )


CASE = Case("w2", frozenset("b"), ("m1", "w1"), T0, T0 + 12)


def test_every_phase_of_a_recovery_is_stamped_relative_to_the_fault() -> None:
    line = timeline.build(CASE, observations())
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
    assert line.metrics["rejoined_seconds"] == 2
    assert line.metrics["replacements_running_seconds"] == 6


def test_a_failure_between_the_withdrawal_and_the_synced_rules_is_told_apart() -> None:
    seen = observations()
    between = Request(T0 + 4.3, T0 + 5.3, False, "w1", "timed out")
    line = timeline.build(CASE, msgspec_replace(seen, requests=(*seen.requests, between)))
    assert line.metrics["failed_requests_while_rules_synced"] == 1
    assert line.metrics["failed_requests_after_withdrawal"] == 0


def test_a_failure_after_the_rules_were_synced_counts_as_late() -> None:
    seen = observations()
    late = Request(T0 + 4.7, T0 + 5.7, False, "w1", "timed out")
    line = timeline.build(CASE, msgspec_replace(seen, requests=(*seen.requests, late)))
    assert line.metrics["failed_requests_after_withdrawal"] == 1


def test_rules_count_as_synced_only_when_every_survivor_has_synced() -> None:
    seen = observations()
    only_m1 = tuple(r for r in seen.rules if r.node == "m1")
    line = timeline.build(CASE, msgspec_replace(seen, rules=only_m1))
    assert line.seconds("rules_withdrawn") is None
    assert line.seconds("first_good_request") is None
    assert line.metrics["failed_requests_after_withdrawal"] is None


def test_pods_that_were_there_before_the_fault_are_no_replacements() -> None:
    assert timeline.replacements(CASE, observations().pods) == frozenset("c")


def msgspec_replace(seen: Observations, **changes: object) -> Observations:
    from dataclasses import replace

    return replace(seen, **changes)


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
    level = spec.Level(metric="m", max=spec.ByProfile(fast=10, kubernetes=300), severity=severity)
    found, findings = judge([level], {"m": measured}, "fast")
    assert (found, found.exit_code) == (verdict, code)
    assert findings[0].met is (verdict is Verdict.PASS)


def test_the_catalog_has_the_node_failure_and_its_levels_name_real_metrics() -> None:
    drill = spec.find("node-power-off")
    metrics = timeline.build(CASE, observations()).metrics
    assert {level.metric for level in drill.spec.levels} <= set(metrics)


def test_an_unknown_field_in_a_drill_is_refused_with_its_path() -> None:
    with pytest.raises(LabFileError, match=r"unknown field `colour`.*\$\.metadata"):
        spec.parse(
            "apiVersion: muster/v1\nkind: Drill\nmetadata: {name: x, colour: red}\nspec: {}",
            "x.yaml",
        )


def result() -> Result:
    drill = spec.find("node-power-off")
    seen = observations()
    line = timeline.build(CASE, seen)
    verdict, findings = judge(drill.spec.levels, line.metrics, "fast")
    started = datetime(2026, 1, 2, tzinfo=UTC)
    return Result(drill, "l", "fast", "run", started, CASE, seen, line, verdict, findings)


def test_the_json_report_holds_phases_findings_and_every_request() -> None:
    document = msgspec.json.decode(report.as_json(result()))
    assert document["verdict"] == "pass"
    assert len(document["requests"]) == 4
    assert document["phases"][0] == {
        "key": "last_lease",
        "title": "last heartbeat (Lease renewed)",
        "seconds": -0.4,
        "detail": "w2",
    }


def test_the_html_report_is_self_contained_and_escapes_what_it_is_given() -> None:
    hostile = dataclasses.replace(result(), lab="<script>alert(1)</script>")
    assert "&lt;script&gt;" in html.render(hostile)
    assert "<script" not in html.render(hostile)
    page = html.render(result())
    assert "src=" not in page and "<link" not in page and "<script" not in page
    assert page.count("<svg") == 2
    assert "node tainted unreachable:NoExecute" in page


def test_the_undo_is_pending_until_it_is_cleared(tmp_path: object) -> None:
    state = Path(str(tmp_path))
    journal = Journal(state / "drills" / "r1")
    undo = Undo(drill="node-power-off", lab="l", power_on=("w2",), deadline=1.0)
    journal.write(undo)
    assert pending(state) == [(journal, undo)]
    journal.clear()
    assert pending(state) == []


def test_a_sample_is_read_by_its_exact_name() -> None:
    text = f"# HELP {LAST_SYNC} x\n{LAST_SYNC}_other 1\n{LAST_SYNC} 1.5e3\n"
    assert sample(text, LAST_SYNC) == 1500
    assert sample("", LAST_SYNC) is None


async def test_a_drill_beside_another_is_refused_at_once(tmp_path: Path) -> None:
    """Two faults at once would spoil both judgements; one that was killed is healed first."""
    lab_spec = LabSpec(
        "lab", LabNetwork("10.1.0.0/24", "10.1.0.1", "10.1.0.254"), (), tmp_path, "", tmp_path
    )
    lab = DrillLab(
        lab_spec, LocalProvider(), ("127.0.0.1:1",), tmp_path / "none",
        TlsFiles(tmp_path, tmp_path, tmp_path), "fast",
    )  # fmt: skip
    undo = Undo(drill="node-power-off", lab="lab", power_on=("w1",), deadline=0.0)
    Journal(tmp_path / "drills" / "run").write(undo)
    with pytest.raises(NothingRan, match=r"another drill .* has cut the power of w1") as refused:
        await engine.run(spec.find("node-power-off"), lab, node="", service="", say=print)
    assert refused.value.exit_code == 2
    assert "drill heal" in refused.value.hint


async def test_a_workload_on_a_single_worker_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one drill all pods are on the survivor; a second one would prove nothing."""
    machines = tuple(MachineSpec(f"w{n}", "worker", f"10.1.0.2{n}", 1.0, 512) for n in (1, 2))
    lab = DrillLab(
        LabSpec(
            "lab", LabNetwork("10.1.0.0/24", "10.1.0.1", "10.1.0.254"), machines, tmp_path, "",
            tmp_path,
        ),
        LocalProvider(), ("127.0.0.1:1",), tmp_path, TlsFiles(tmp_path, tmp_path, tmp_path), "fast",
    )  # fmt: skip
    on: dict[str, list[Pod]] = {"w2": [Pod(), Pod()]}

    async def pods(_client: object, _found: object) -> dict[str, list[Pod]]:
        return on

    monkeypatch.setattr(engine, "pods_by_node", pods)
    found = Workload("default", "hello", 30080, {"app": "hello"})
    async with Client.connect(["127.0.0.1:1"], None) as client:
        with pytest.raises(NothingRan, match="are on w2: no endpoint would be left"):
            await engine._choose(client, found, lab, "")
        on["w1"] = [Pod()]
        assert (await engine._choose(client, found, lab, ""))[0] == "w2"
