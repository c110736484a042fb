"""The import contracts by rule: what counts as a claim, what breaks it, what a cycle is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tools.contracts import claims_purity, cycles, impurity, pure_modules

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("text", ["Pure.", "A log. Pure: no clock.", "Raft without I/O", "No I/O."])
def test_these_words_claim_purity(text: str) -> None:
    assert claims_purity(text)


@pytest.mark.parametrize("text", ["Pureed", "the pure parts decide over these", ""])
def test_these_words_claim_nothing(text: str) -> None:
    assert not claims_purity(text)


def test_a_package_claims_for_all_that_is_in_it(tmp_path: Path) -> None:
    house = tmp_path / "house"
    house.mkdir()
    (house / "__init__.py").write_text('"""Rooms."""')
    (house / "core").mkdir()
    (house / "core" / "__init__.py").write_text('"""Decides. Pure."""')
    (house / "core" / "plan.py").write_text('"""A plan."""')
    (house / "shell.py").write_text('"""Acts."""')
    modules = ["house", "house.core", "house.core.plan", "house.shell"]
    assert pure_modules(modules, tmp_path) == {"house.core", "house.core.plan"}


def _graph(*imports: tuple[str, str, str]) -> grimp.ImportGraph:
    graph = grimp.ImportGraph()
    for importer, imported, line in imports:
        graph.add_import(importer=importer, imported=imported, line_number=1, line_contents=line)
    return graph


def test_an_impure_module_is_found_behind_others() -> None:
    graph = _graph(("a", "b", "import b"), ("b", "socket", "import socket"))
    assert impurity(graph, "a", {"socket"}) == ["a", "b", "socket"]
    assert impurity(graph, "a", {"time"}) == []


def test_a_generator_may_be_handed_in_but_chance_not_taken() -> None:
    typed = _graph(("a", "random", "from random import Random"))
    taken = _graph(("a", "random", "import random"))
    assert impurity(typed, "a", {"random"}) == []
    assert impurity(taken, "a", {"random"}) == ["a", "random"]


def test_cycles_are_found_whole_and_once() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set[str](), "f": {"f"}}
    assert cycles(imports) == [["a", "b", "c"], ["f"]]


def test_make_check_refuses_a_module_that_says_pure_and_is_not(tmp_path: Path) -> None:
    house = tmp_path / "house"
    house.mkdir()
    (house / "__init__.py").write_text('"""Rooms."""\n')
    (house / "liar.py").write_text('"""Decides. Pure."""\n\nimport socket\n')
    (house / "one.py").write_text('"""One."""\n\nimport house.two\n')
    (house / "two.py").write_text('"""Two."""\n\nimport house.one\n')
    ours = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    rules = ours[ours.index("include_external_packages") :]
    floors = rules.index("[[tool.importlinter.contracts]]")
    rest = rules.index("[[tool.importlinter.contracts]]", floors + 1)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_packages = ["house"]\n' + rules[:floors] + rules[rest:]
    )
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=tmp_path, capture_output=True, text=True)
    said = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "house.liar says that it is pure: house.liar -> socket" in said
    assert "import each other: house.one, house.two" in said
