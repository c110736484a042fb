"""By who leads: the store's leader, or the holder of a component's Lease."""

from __future__ import annotations

from drills.targets.base import Candidate, View
from drills.targets.spec import Target


async def leading(target: Target, left: list[Candidate], view: View) -> list[Candidate]:
    if not target.leader_of:
        return left
    leader = await view.leader_of(target.leader_of)
    return [candidate for candidate in left if candidate.name == leader]


async def not_leading(target: Target, left: list[Candidate], view: View) -> list[Candidate]:
    if not target.not_leader_of:
        return left
    leader = await view.leader_of(target.not_leader_of)
    return [candidate for candidate in left if candidate.name != leader]
