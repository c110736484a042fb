"""The table of served kinds in docs/kinds.md: written anew, or with `--check` only compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from master.apiserver.kinds.catalog import KINDS
from master.apiserver.kinds.kind import AnyKind

PAGE = Path(__file__).resolve().parent.parent / "docs" / "kinds.md"
BEGIN, END = "<!-- begin: made by tools/gen_kind_docs.py -->\n", "<!-- end -->\n"


def table() -> str:
    return "\n".join(("| kind | of | short | subresources |", "|---|---|---|---|", *_rows(), ""))


def _rows() -> Iterator[str]:
    for kind in sorted(KINDS, key=lambda kind: (kind.resource.api_version, kind.resource.kind)):
        yield _row(kind)


def _row(kind: AnyKind) -> str:
    resource = kind.resource
    scope = "" if resource.namespaced else ", cluster"
    if kind.conversion:
        scope += f"; stored as {kind.stored.resource.api_version}"
    parts = ", ".join(part.name for part in kind.subresources)
    short = ", ".join(resource.short_names)
    return f"| {resource.kind} | {resource.api_version}{scope} | {short} | {parts} |"


def rendered(page: str) -> str:
    """The page with its table as it is to be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is stale")
    options = parser.parse_args()
    page = PAGE.read_text()
    wanted = rendered(page)
    if options.check and page != wanted:
        sys.stderr.write(f"{PAGE} is stale: run tools/gen_kind_docs.py\n")
        return 1
    if not options.check:
        PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
