"""Reports of a drill: the same value in every form, and nothing in it is markup."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from drills import document, history
from drills.compare import compare
from drills.journal import Journal, Line, Undo
from drills.report import FILES, Report, as_json, from_json, junit, markdown, page, report_of, write
from drills.report.rows import phase_rows, request_words
from drills.result import Result
from drills.undo import PowerOn
from drills.verdict import judge
from tests.unit.drills.test_timeline import CASE, EVENTS, Observations, timeline

ROOT = Path(__file__).parents[3]
HOSTILE = '<script>alert("1")</script> & `x` | [a](b) \x00'


def result() -> Result:
    drill = document.find("node-power-off")
    seen = Observations(EVENTS)
    line = timeline.build(CASE, seen, drill.phases)
    verdict, findings = judge(drill.spec.levels, line.metrics, "fast")
    started = datetime(2026, 1, 2, tzinfo=UTC)
    undo = [Line(at=1012.0, by="drill", event="healed", key="1-power-off", text="switched on: w2")]
    return Result(drill, "l", "fast", "run", started, CASE, seen, line, verdict, findings, undo)


def report() -> Report:
    return report_of(result())


def hostile() -> Report:
    made = report()
    requests = tuple(msgspec.structs.replace(r, answer=HOSTILE, via=HOSTILE) for r in made.requests)
    phases = tuple(msgspec.structs.replace(p, detail=HOSTILE, title=HOSTILE) for p in made.phases)
    lanes = tuple(msgspec.structs.replace(lane, name=HOSTILE) for lane in made.lanes)
    undo = tuple(msgspec.structs.replace(line, text=HOSTILE) for line in made.undo)
    return msgspec.structs.replace(
        made, drill=HOSTILE, lab=HOSTILE, victim=HOSTILE, fault=HOSTILE, why=HOSTILE,
        learn=HOSTILE, description=HOSTILE, requests=requests, phases=phases, lanes=lanes,
        undo=undo,
    )  # fmt: skip


def test_the_json_report_holds_phases_findings_and_every_request() -> None:
    told = msgspec.json.decode(as_json(report()))
    assert told["verdict"] == "pass"
    assert len(told["requests"]) == 4
    first = told["phases"][0]
    assert (first["key"], first["seconds"], first["detail"]) == ("last_lease", -0.4, "w2")
    assert first["source"] == "spec.renewTime of the victim's Lease in kube-node-lease"
    assert from_json(as_json(report())) == report()


def test_the_published_schemas_are_fresh() -> None:
    for name, file in (("drill", "drill.schema.json"), ("report", "drill-report.schema.json")):
        published = (ROOT / "docs" / file).read_text()
        assert published == document.SCHEMAS[name](), f"python -m drills.document {name}"


def test_all_reports_tell_the_same_number_of_requests() -> None:
    """The page said 464 in one place and 484 in another: before the fault there are some too."""
    words = request_words(report())
    assert words == "4 requests, 1 before the fault and 3 after; 1 failed"
    assert words in page.render(report()) and words in markdown.render(report())
    counts = re.findall(r"<b>([\d.]+)</b>requests", page.render(report()))
    assert counts == ["4"]
    assert page.render(report()).count("<circle") == 4


def test_the_phase_table_has_durations() -> None:
    rows = {row[2]: row for row in phase_rows(report())}
    assert rows["node NotReady"][:2] == ("+4.00 s", "4.00 s")
    assert rows["node tainted unreachable:NoExecute"][:2] == ("+4.10 s", "0.10 s")


def test_the_html_report_is_self_contained_and_escapes_what_it_is_given() -> None:
    given = page.render(hostile())
    assert "&lt;script&gt;" in given and "<script" not in given
    shown = page.render(report())
    assert "src=" not in shown and "<link" not in shown and "url(" not in shown
    assert shown.count("<svg") == 3
    assert "node tainted unreachable:NoExecute" in shown
    assert shown.index('class="verdict') < shown.index("<h2>")


def test_the_html_report_stays_small_whatever_the_load_was() -> None:
    made = report()
    many = tuple(msgspec.structs.replace(made.requests[0], started=n / 50) for n in range(20000))
    assert len(page.render(msgspec.structs.replace(made, requests=many))) < 1_000_000


def test_junit_has_a_case_for_the_run_and_for_each_level() -> None:
    suite = ET.fromstring(junit.render(report()))
    assert (suite.get("tests"), suite.get("failures")) == ("6", "0")
    broken = ET.fromstring(junit.render(hostile()))
    assert broken.get("failures") == "1"
    cut = dataclasses.replace(result(), findings=judge(
        document.find("node-power-off").spec.levels, {}, "fast")[1])  # fmt: skip
    suite = ET.fromstring(junit.render(report_of(cut)))
    # Four levels fail; the fifth only warns.
    assert (suite.get("failures"), suite.get("skipped")) == ("4", "1")


def test_markdown_keeps_what_it_is_given_as_text() -> None:
    text = markdown.render(hostile())
    assert "<script>" not in text
    assert "[a](b)" not in text
    assert all(line.count("|") - line.count("\\|") == 5 for line in text.splitlines()
               if line.startswith("| +"))  # fmt: skip


def test_an_interrupted_drill_has_a_report_that_says_so(tmp_path: Path) -> None:
    from drills.verdict import Verdict

    cut = dataclasses.replace(result(), verdict=Verdict.INTERRUPTED, why="by the user")
    write(report_of(cut), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    assert json.loads((tmp_path / "report.json").read_text())["why"] == "by the user"
    assert "interrupted" in (tmp_path / "report.html").read_text()
    assert Verdict.INTERRUPTED.exit_code == 1


def test_two_groups_of_runs_are_compared_by_median_and_spread() -> None:
    slow = msgspec.structs.replace(
        report(), verdict="fail",
        phases=tuple(
            msgspec.structs.replace(p, seconds=p.seconds + 2)
            for p in report().phases if p.seconds is not None
        ),
    )  # fmt: skip
    rows = {row[0]: row[1:] for row in compare([report()], [report(), slow, slow])}
    assert rows["verdicts"] == ("pass", "1 × pass, 2 × fail", "")
    assert rows["node NotReady"] == ("4.00 s", "6.00 s (4.00 … 6.00)", "+2.00 s")


def test_the_history_knows_runs_whose_tool_was_killed(tmp_path: Path) -> None:
    done = Journal(tmp_path / "drills" / "20260101T000000Z-node-power-off")
    write(report(), done.folder)
    killed = Journal(tmp_path / "drills" / "20260102T000000Z-node-power-off")
    killed.note("watchdog", "healed", "1-power-off")
    left = Journal(tmp_path / "drills" / "20260103T000000Z-node-freeze")
    left.write(
        Undo(drill="d", lab="l", key="1", fault="freeze of w1", steps=(PowerOn(("w1",)),),
             deadline=1.0)
    )  # fmt: skip
    told = [(run.drill, run.verdict, run.left) for run in history.runs(tmp_path)]
    assert told == [
        ("node-power-off", "pass", ""),
        ("node-power-off", "killed; undone by watchdog", ""),
        ("node-freeze", "no report", "freeze of w1"),
    ]
    assert len(history.of_lab(tmp_path, "node-power-off")) == 1
