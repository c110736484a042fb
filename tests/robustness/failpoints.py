"""A scenario for each fail point: how it is reached, what happens there, and what comes after.

`fail:NAME` dies there, or (by the seed) loses what was not synced too, meets an error nobody
expects, becomes slow, or dies a second time while it recovers. A point that is not reached fails
the run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from master.kvstore.failpoint import NAMES
from tests.robustness.cluster import wait_for
from tests.robustness.members import Member
from tests.robustness.programs import SNAPSHOT_COUNT
from tests.robustness.world import World

PREFIX = "fail:"
_INSTALL = ("snapshot-before-install", "snapshot-after-install")
# Passed by every request.
_HOT = (
    "wal-before-append",
    "wal-after-append",
    "wal-after-fsync",
    "written-before-send",
    "written-after-send",
    "apply-before",
    "apply-after",
)
_STRIKE_SECONDS = 60.0
_BEHIND = 3 * SNAPSHOT_COUNT  # a member that missed so many entries is sent a snapshot


@dataclass(frozen=True, slots=True)
class Strike:
    """One point, one action; `twice`: it is struck again while it recovers."""

    point: str
    action: str
    loses: bool = False
    twice: bool = False

    def spec(self, rng: random.Random) -> str:
        if self.point in _HOT:
            passage = rng.randint(40, 120)
        elif self.point in _INSTALL:
            passage = 1
        else:
            # A new member's first segment is its first passage there.
            passage = rng.randint(2, 3) if "segment" in self.point else rng.randint(1, 2)
        return f"{self.point}:{passage}:{self.action}"


def strike_of(name: str, members: int, seed: int) -> Strike:
    """Five seeds in a row do all five things; which comes first differs, so that few seeds of
    all points and sizes do all, too."""
    point = name.removeprefix(PREFIX)
    if point not in NAMES:
        raise ValueError(f'"{point}" is no fail point')
    slow = "sleep=0.05" if point in _HOT else "sleep=0.5"
    return (
        Strike(point, "kill"),
        Strike(point, "kill", loses=True),
        Strike(point, "panic"),
        Strike(point, slow, loses=True),
        Strike(point, "kill", loses=True, twice=True),
    )[(NAMES.index(point) + members // 2 + seed) % 5]


def armed_at_start(strike: Strike, members: list[Member], rng: random.Random) -> dict[Member, str]:
    """Who is started with the point armed: an installed snapshot needs more than that."""
    if strike.point in _INSTALL:
        return {}
    return {rng.choice(members): strike.spec(rng)}


async def act(world: World, strike: Strike, armed: dict[Member, str]) -> None:
    if strike.point in _INSTALL:
        if len(world.cluster.members) == 1 or world.rng.random() < 0.3:
            await _strike_one_that_joins(world, strike)
            return
        victim = await _leave_behind(world, strike)
    else:
        victim = next(iter(armed))
    await _strike(world, strike, victim)


async def _leave_behind(world: World, strike: Strike) -> Member:
    """A follower that was away until the others' logs begin after what it has."""
    leader = await world.cluster.leader()
    victim = world.rng.choice(world.others(leader))
    world.cluster.kill(victim)
    await world.writes(_BEHIND)
    world.cluster.start_again(victim, strike.spec(world.rng))
    return victim


async def _strike_one_that_joins(world: World, strike: Strike) -> None:
    await world.writes(_BEHIND)
    if len(world.cluster.members) == 5:
        victim = world.anybody()
        await world.cluster.remove(victim)
        world.cluster.kill(victim)
    new = await world.cluster.add(strike.spec(world.rng))
    await _strike(world, strike, new)
    await world.cluster.promote(new)


async def _strike(world: World, strike: Strike, victim: Member) -> None:
    cluster = world.cluster
    await wait_for(
        lambda: victim.struck() > 0, _STRIKE_SECONDS, f"{victim.name} to reach {strike.point}"
    )
    cluster.note(f"{victim.name} struck at {strike.point}: {strike.action}")
    if strike.action.startswith("sleep"):
        await world.sleep(0.8, 1.2)
        cluster.kill(victim)
    else:
        await cluster.died(victim, 60, strike.action)
    await world.sleep(0, 0.5)
    if strike.loses:
        cluster.lose_unsynced(victim)
    if strike.twice:
        await _strike_again(world, victim)
    cluster.start_again(victim)
    await cluster.wait_serving(60, [victim] if victim in cluster.members else [])


async def _strike_again(world: World, victim: Member) -> None:
    point = world.rng.choice(_HOT)
    world.cluster.start_again(victim, f"{point}:{world.rng.randint(1, 5)}")
    await world.cluster.died(victim, _STRIKE_SECONDS, point)
    world.cluster.lose_unsynced(victim)
