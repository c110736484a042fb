"""Measures the tables of docs/security.md and writes them there: `python -m tests.security`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.security.tables import MODULES, Table, replaced

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(MODULES)
    if unknown:
        print(f"no table {', '.join(sorted(unknown))}; there are: {', '.join(MODULES)}")
        return 2
    for name in wanted or MODULES:
        print(f"{name}: measuring", flush=True)
        table: Table = importlib.import_module(f"tests.security.tables.{name}").table()
        PAGE.write_text(replaced(PAGE.read_text(), name, table))
        print(f"{name}: {len(table.rows)} rows")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
