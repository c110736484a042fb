"""Plant each bug of the catalogue into a copy of the tree and run the checks that must notice it.

`python -m tests.mutants [NAME...]`. The checks first run on the copy as it is, where they must
pass. Prints who noticed which bug and after how long; a survivor, or a bug whose place in the code
is gone, fails the command.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.mutants.mutant import CATALOGUE, ROOT, Mutant, Stale, catalogue

_LEAVE_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
_TESTS_FAILED = 1  # anything else but 0 means that the check itself did not run
_PATIENCE_SECONDS = 1800
_COMMANDS = {
    "simulation": ("tests.simulation",),
    "pytest": (
        "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.unshrunk",
        "-W", "ignore::pytest.PytestWarning",
    ),
    "robustness": ("tests.robustness",),
}  # fmt: skip


class Verdict(msgspec.Struct, frozen=True):
    passed: bool
    noticed: str  # by what; when neither passed nor noticed, the check could not run
    why: str
    seconds: float


def judge(tree: Path, check: str) -> Verdict:
    """Run one check on `tree`. No byte code: two versions of a file may be of the same second."""
    kind, *arguments = shlex.split(check)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *_COMMANDS[kind], *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{tree}:{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    found = re.search(
        r"^\s*(?:FAILED|VIOLATION) +(.*)(?:\n.*(--seed \d+)\b.*)?", done.stdout, re.MULTILINE
    )
    noticed = ""
    if done.returncode == _TESTS_FAILED and found:
        noticed = " ".join(filter(None, found.groups()))
    why = "" if noticed else "\n".join(done.stdout.splitlines()[-15:])
    return Verdict(not done.returncode, noticed, why, time.monotonic() - began)


def unsound(tree: Path, checks: Iterable[str]) -> set[str]:
    """The checks that fail where nothing is planted: what they notice means nothing."""
    failing = set()
    for check in sorted(set(checks)):
        verdict = judge(tree, check)
        if not verdict.passed:
            print(f"{check}: fails without any bug\n{verdict.why or verdict.noticed}", flush=True)
            failing.add(check)
    return failing


def killed(tree: Path, mutant: Mutant, checks: Iterable[str], failing: set[str]) -> bool:
    everywhere = True
    for check in checks:
        if check in failing:
            print(f"UNJUDGED  {mutant.name:62} {check}", flush=True)
            everywhere = False
            continue
        try:
            with mutant.planted(tree):
                verdict = judge(tree, check)
        except Stale as stale:
            print(f"STALE     {stale}", flush=True)
            return False
        word = "killed" if verdict.noticed else "SURVIVED" if verdict.passed else "BROKEN"
        by = verdict.noticed or f"{check}\n{verdict.why}"
        print(f"{word:9} {mutant.name:62} {verdict.seconds:5.0f} s  {by}", flush=True)
        everywhere &= bool(verdict.noticed)
    return everywhere


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only mutants whose name contains one of these")
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE)
    parser.add_argument("--only", default="", help="only checks of this kind, such as pytest")
    options = parser.parse_args(argv)
    chosen = [
        (mutant, checks)
        for mutant in catalogue(options.catalogue)
        if not options.names or any(name in mutant.name for name in options.names)
        if (checks := [check for check in mutant.checks if check.startswith(options.only)])
    ]
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(options.tree, tree, ignore=_LEAVE_OUT, symlinks=True)
        failing = unsound(tree, (check for _, checks in chosen for check in checks))
        survivors = [m.name for m, checks in chosen if not killed(tree, m, checks, failing)]
    print(f"{len(chosen)} mutants planted, {len(survivors)} not killed {survivors or ''}")
    return 0 if chosen and not survivors else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
