"""The tables of docs/security.md, each measured anew by `make security`.

A table is a module here. It has a function `table()` that sets up what it needs (real processes,
real machines), asks, and returns a `Table`; nothing in it is written down by hand. `MODULES` names
them in the order of the page, where a pair of marks (`marks`) holds the place of each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The modules of this folder.
MODULES: tuple[str, ...] = (
    "bad_input",
    "loop_time",
    "node_matrix",
    "port_access",
    "ports",
    "pod_isolation",
    "isolation",
)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are Markdown; a row has as many of them as `header`."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def marks(name: str) -> tuple[str, str]:
    """The lines of the page between which the table of module `name` stands."""
    return f"<!-- table {name}: written by `make security` -->", f"<!-- end of {name} -->"


def render(table: Table) -> str:
    """The table in Markdown. Raises ValueError for a row of another width."""
    lines = [table.header, ("---",) * len(table.header), *table.rows]
    for row in lines:
        if len(row) != len(table.header):
            raise ValueError(f"a row has {len(row)} cells, not {len(table.header)}: {row}")
    return "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in lines)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text).replace("\n", " ")


def replaced(page: str, name: str, table: Table) -> str:
    """The page with this table in its place. Raises ValueError where the page has no marks."""
    begin, end = marks(name)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no place for the table {name}: {begin} ... {end}")
    return f"{before}{begin}\n\n{render(table)}\n{end}{after}"
