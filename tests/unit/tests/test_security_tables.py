"""How the tables of docs/security.md get into their places."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.security.tables import MODULES, Table, marks, render, replaced

PAGE = Path(__file__).resolve().parents[3] / "docs" / "security.md"
TABLE = Table(("who", "may"), [("nobody", "nothing"), ("a|b", "two\nlines")])


def test_a_table_is_markdown_with_its_cells_escaped() -> None:
    assert render(TABLE) == (
        "| who | may |\n| --- | --- |\n| nobody | nothing |\n| a\\|b | two lines |\n"
    )


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells, not 2"):
        render(Table(("who", "may"), [("nobody",)]))


def test_writing_a_table_twice_changes_the_page_once() -> None:
    begin, end = marks("nodes")
    once = replaced(f"before\n{begin}\nold\n{end}\nafter\n", "nodes", TABLE)
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert replaced(once, "nodes", TABLE) == once


def test_a_page_without_a_place_for_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for the table nodes"):
        replaced("nothing here", "nodes", TABLE)


@pytest.mark.parametrize("name", MODULES)
def test_every_table_has_a_place_on_the_page(name: str) -> None:
    begin, end = marks(name)
    assert PAGE.read_text().count(begin) == PAGE.read_text().count(end) == 1
    assert callable(importlib.import_module(f"tests.security.tables.{name}").table)
