"""By name and by role; in the lab's order, or by chance."""

from __future__ import annotations

from random import Random

from drills.targets.base import Candidate, NoTarget, View
from drills.targets.spec import Target


async def by_name(target: Target, left: list[Candidate], view: View) -> list[Candidate]:
    if not target.names:
        return left
    known = {candidate.name for candidate in view.candidates}
    for name in target.names:
        if name not in known:
            raise NoTarget(
                f'the lab has no machine "{name}"', f"there are: {', '.join(sorted(known))}"
            )
    return [candidate for candidate in left if candidate.name in target.names]


async def by_role(target: Target, left: list[Candidate], _view: View) -> list[Candidate]:
    return [c for c in left if not target.role or c.role == target.role]


def in_order(left: list[Candidate], _chance: Random) -> list[Candidate]:
    return left


def shuffled(left: list[Candidate], chance: Random) -> list[Candidate]:
    return chance.sample(left, len(left))
