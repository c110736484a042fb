"""The tables of docs/drills.md that are made of the code: phases and the catalog.

`python tools/gen_drill_docs.py` writes them anew; with --check it fails when they are stale.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "drills.md"


def phases() -> str:
    from drills.phases import ALL

    return "\n".join(f"| `{kind.key}` | {kind.source} |" for kind in ALL)


def drills() -> str:
    from drills.document import catalog

    return "\n".join(
        f"| `{d.metadata.name}` | {d.spec.min_masters} | {d.metadata.description} |"
        for d in catalog()
    )


def rendered(page: str) -> str:
    page = _table(page, "| key | read from |\n|---|---|\n", phases())
    return _table(page, "| drill | masters | what happens |\n|---|---|---|\n", drills())


def _table(page: str, head: str, rows: str) -> str:
    pattern = re.escape(head) + r"(?:[|A-Z].*\n)*"
    return re.sub(pattern, lambda _: f"{head}{rows}\n", page, count=1)


def main() -> int:
    page = PAGE.read_text()
    fresh = rendered(page)
    if "--check" in sys.argv[1:]:
        if fresh != page:
            print("docs/drills.md is stale: python tools/gen_drill_docs.py")
            return 1
        return 0
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(PAGE.parents[1]))
    raise SystemExit(main())
