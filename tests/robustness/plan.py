"""Which runs there are: scenarios x members x seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from master.kvstore.failpoint import NAMES
from tests.robustness.failpoints import PREFIX
from tests.robustness.programs import Program
from tests.robustness.scenarios import FAULTS

POINTS = tuple(f"{PREFIX}{name}" for name in NAMES)


@dataclass(frozen=True, slots=True)
class Planned:
    scenario: str
    members: int
    seed: int

    def __str__(self) -> str:
        return f"{self.scenario}/{self.members}/{self.seed}"


def parse(text: str) -> Planned:
    """`SCENARIO/MEMBERS/SEED`, as a line of the output names a run."""
    scenario, members, seed = text.split("/")
    return Planned(scenario, int(members), int(seed))


def scenarios(patterns: Sequence[str], program: Program) -> list[str]:
    """`all`, `points`, `faults`, or names with wildcards. Only ours has fail points."""
    known = [*(POINTS if program.ours else ()), *FAULTS]
    groups = {"all": known, "points": [n for n in known if n in POINTS], "faults": list(FAULTS)}
    chosen: dict[str, None] = {}
    for pattern in patterns:
        names = groups.get(pattern) or [name for name in known if fnmatch(name, pattern)]
        if not names:
            raise ValueError(f'no scenario is called "{pattern}"; there are {", ".join(known)}')
        chosen |= dict.fromkeys(names)
    return list(chosen)


def plan(names: Sequence[str], members: Sequence[int], seeds: Sequence[int]) -> Iterator[Planned]:
    """Seeds change last, so that every scenario has its turn early."""
    for seed in seeds:
        for count in members:
            for name in names:
                fault = FAULTS.get(name)
                if fault is None or (count >= fault.least_members and fault.possible()):
                    yield Planned(name, count, seed)
