"""Generate kube/api: frozen msgspec structs and the table of facts, from the published schema.

The schema is the one of `kubernetes-validate` (tools/published.py); the shape of the code is ours.
`python tools/gen_api.py` writes the modules of every generally available kind; `--check` fails
when what is committed is stale. `--descriptions` writes only the texts that OpenAPI serves
(kube/api/_descriptions.json, not committed: tools/setup.sh makes it).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tools.published import kinds
from tools.render_facts import descriptions, render_facts
from tools.render_types import ALSO, closure, render_module

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "kube" / "api"
DESCRIPTIONS = OUT / "_descriptions.json"


def modules() -> dict[str, str]:
    """Name of a module -> its text."""
    found = closure([*ALSO, *kinds()])
    made = {module: render_module(module, names) for module, names in sorted(found.items())}
    made["facts"] = render_facts(name for names in found.values() for name in names)
    return {module: formatted(text) for module, text in made.items()}


def formatted(source: str) -> str:
    ruff = Path(sys.executable).parent / "ruff"
    for command in (["check", "--fix", "--select", "I,UP", "-q", "-"], ["format", "-"]):
        source = subprocess.run(
            [ruff, *command], input=source, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
    return source


def write_descriptions() -> None:
    names = [name for names in closure([*ALSO, *kinds()]).values() for name in names]
    DESCRIPTIONS.write_text(json.dumps(descriptions(names), separators=(",", ":")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a module is stale")
    parser.add_argument("--descriptions", action="store_true", help="write only the texts")
    parser.add_argument("--out", type=Path, default=OUT, help="the directory to write to")
    args = parser.parse_args()
    if args.descriptions:
        write_descriptions()
        return 0
    stale = []
    for module, text in modules().items():
        path: Path = args.out / f"{module}.py"
        if args.check and (not path.exists() or path.read_text() != text):
            stale.append(path.name)
        elif not args.check:
            path.write_text(text)
    if stale:
        print("stale API types, run `make api`:", *stale, sep="\n  ")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
