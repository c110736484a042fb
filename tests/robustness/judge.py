"""All judges over one run."""

from __future__ import annotations

from dataclasses import dataclass

from tests.robustness.effects import Effects
from tests.robustness.history import Run
from tests.robustness.leasejudge import lease_problems
from tests.robustness.linearizability import Undecided, operations_of, violations
from tests.robustness.order import real_time_problems
from tests.robustness.revisions import Revisions
from tests.robustness.watchjudge import watch_problems


@dataclass(frozen=True, slots=True)
class Verdict:
    problems: list[str]
    lost: int  # acknowledged writes that are not in the history
    undecided: str = ""


def judge(run: Run) -> Verdict:
    history = Revisions(run.recorder)
    effects = Effects(run, history)
    problems = [*run.problems, *history.problems, *effects.problems]
    problems += real_time_problems(run, history, effects)
    problems += lease_problems(run, history, effects)
    compacted = max((op.target for op in run.ops if op.kind == "compact"), default=0)
    for watch in [run.recorder, *run.watches]:
        problems += watch_problems(watch, history, run.final_revision, compacted)
    undecided = ""
    try:
        keys = violations(operations_of(run.ops))
        problems += [f"no order explains what was read of {key}" for key in keys]
    except Undecided as error:
        undecided = str(error)
    return Verdict(problems, len(effects.lost), undecided)
