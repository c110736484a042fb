"""What a run came to, in a line; what all came to, in a table."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

_SHOWN_PROBLEMS = 4


class Result(msgspec.Struct, frozen=True):
    program: str
    scenario: str
    members: int
    seed: int
    seconds: float
    operations: int
    acknowledged: int
    revisions: int
    lost: int
    problems: list[str]
    undecided: str = ""
    history: str = ""  # the file of a failed run

    @property
    def name(self) -> str:
        return f"{self.scenario}/{self.members}/{self.seed}"


def line(result: Result) -> str:
    verdict = "VIOLATION" if result.problems else "ok"
    lines = [
        f"{verdict:9} {result.program} {result.name:38} {result.seconds:5.1f} s "
        f"{result.operations:5} operations {result.acknowledged:5} acknowledged "
        f"{result.revisions:5} revisions {result.lost} lost"
        + (f" undecided: {result.undecided}" if result.undecided else "")
    ]
    lines += [f"          {problem[:400]}" for problem in result.problems[:_SHOWN_PROBLEMS]]
    if result.problems:
        lines.append(f"          {len(result.problems)} problems in {result.history}")
    return "\n".join(lines)


def table(results: Sequence[Result]) -> str:
    """One row for each scenario, runs and violations by the number of members."""
    sizes = sorted({result.members for result in results})
    rows: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        rows[result.scenario].append(result)
    head = ["scenario", *(f"{n} members" for n in sizes), "operations", "acknowledged", "lost"]
    lines = [head, *(_row(name, rows[name], sizes) for name in rows), _row("all", results, sizes)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(w) if n == 0 else cell.rjust(w)
            for n, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in lines
    ]
    bad = sum(1 for result in results if result.problems)
    undecided = sum(1 for result in results if result.undecided)
    text.append(
        f"{len(results)} runs, {bad} with violations, {sum(r.lost for r in results)} acknowledged "
        f"writes lost, {undecided} undecided by search, "
        f"{sum(r.seconds for r in results):.0f} s in total"
    )
    return "\n".join([*text, *_kinds(results)])


def _kinds(results: Sequence[Result]) -> list[str]:
    """How many runs broke what, without the particulars."""
    kinds = Counter(
        kind
        for result in results
        for kind in {re.sub(r"\[.*\]|'.*'|[0-9a-f]*\d[0-9a-f.]*", "#", p) for p in result.problems}
    )
    return [f"{count:5} runs: {kind[:160]}" for kind, count in kinds.most_common(20)]


def _row(name: str, results: Sequence[Result], sizes: Sequence[int]) -> list[str]:
    cells = [name]
    for size in sizes:
        of_size = [result for result in results if result.members == size]
        bad = sum(1 for result in of_size if result.problems)
        cells.append(f"{len(of_size)}" + (f" ({bad} bad)" if bad else ""))

    def total(field: str) -> Any:
        return sum(getattr(result, field) for result in results)

    return [*cells, str(total("operations")), str(total("acknowledged")), str(total("lost"))]
