"""The planted bugs still fit the code. `make mutants` plants them, which takes minutes."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.__main__ import main
from tests.mutants.mutant import ROOT, Mutant, Stale, catalogue

MUTANTS = catalogue()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_to_replace_is_there_once_and_what_comes_out_is_python(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert mutant.mutated(text) != text
    ast.parse(mutant.mutated(text))


def test_names_are_unique_and_each_has_a_check() -> None:
    assert [name for name, n in Counter(m.name for m in MUTANTS).items() if n > 1] == []
    assert all(mutant.checks for mutant in MUTANTS)


def test_a_text_that_is_not_there_is_stale() -> None:
    mutant = Mutant("x", "f", "abc", "abd", ())
    with pytest.raises(Stale):
        mutant.mutated("abc abc")
    with pytest.raises(Stale):
        mutant.mutated("xyz")


SMALL = """
[[mutant]]
name = "killed"
file = "small.py"
before = "return 1"
after = "return 2"
checks = ["pytest test_small.py"]

[[mutant]]
name = "survivor"
file = "small.py"
before = "unused = 3"
after = "unused = 4"
checks = ["pytest test_small.py"]
"""


def test_a_survivor_fails_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a tree of two files: one bug is noticed by its check, the other by nobody."""
    (tmp_path / "small.py").write_text("unused = 3\n\n\ndef one() -> int:\n    return 1\n")
    (tmp_path / "test_small.py").write_text(
        "from small import one\n\n\ndef test_one():\n    assert one() == 1\n"
    )
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    (tmp_path / "list.toml").write_text(SMALL)
    options = ["--tree", str(tmp_path), "--catalogue", str(tmp_path / "list.toml")]
    assert main(options) == 1
    out = capsys.readouterr().out
    assert "test_small.py::test_one" in out
    assert "SURVIVED" in out
    assert main([*options, "killed"]) == 0
