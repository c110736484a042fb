"""The dashboards as Grafana gets them, and their queries as Prometheus reads them."""

from __future__ import annotations

import json
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from muster.dashboards import dashboards
from provision.dashboards import BOARDS
from provision.dashboards.board import WIDTH, Board

boards = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)


def test_an_export_writes_each_once_and_replaces_what_it_wrote_before(tmp_path: Path) -> None:
    for _ in range(2):
        done = CliRunner().invoke(dashboards, ["export", str(tmp_path / "new")])
        assert done.exit_code == 0, done.output
    found = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "new").iterdir()}
    assert set(found) == {board.uid for board in BOARDS}
    assert len({document["title"] for document in found.values()}) == len(BOARDS)
    # Grafana refuses longer ones.
    assert all(len(uid) <= 40 for uid in found)


@boards
def test_panels_do_not_overlap_and_have_ids_of_their_own(board: Board) -> None:
    panels: list[dict[str, Any]] = board.document()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= WIDTH for place in places)
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)


@boards
def test_each_query_asks_one_lab_alone(board: Board) -> None:
    for title, expr in board.queries():
        # An alert is not of one lab where its rule is not.
        assert 'cluster="$cluster"' in expr or expr.startswith("count(ALERTS"), title


@boards
def test_prometheus_can_parse_each_query(board: Board, tmp_path: Path) -> None:
    queries = [*board.queries(), *((mark.name, mark.expr) for mark in board.marks)]
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, (_, expr) in enumerate(queries)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
