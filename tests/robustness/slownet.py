"""Faults of the network's quality: members and clients far apart, lines that are slow, that stall,
and that break in the middle of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

from tests.robustness.cluster import NotInTime, wait_for
from tests.robustness.history import Op
from tests.robustness.programs import ELECTION_MS
from tests.robustness.relay import STALLED, Pair, Quality
from tests.robustness.world import World, fault

_CLOCK_SECONDS = 0.001
_CUT_SECONDS = 0.5


def too_early(ops: Sequence[Op], since: float, round_trip_seconds: float) -> list[str]:
    """Answers that came although the members cannot have heard of each other: a linearizable read
    and a write both need a majority, there and back."""
    return [
        f"{op.kind} {op.id} was answered after {(op.end - op.call) * 1000:.1f} ms, though members "
        f"are {round_trip_seconds * 1000:.0f} ms apart, there and back"
        for op in ops
        if op.kind in ("get", "put", "delete", "txn") and op.call >= since and op.answered
        if op.end is not None and op.end - op.call < round_trip_seconds - _CLOCK_SECONDS
    ]


@fault("delay", least_members=3, relayed=True)
async def delay(world: World) -> None:
    """All are equally far apart. It shows that the relays do what they are told, too."""
    quality = Quality(world.rng.uniform(0.02, 0.06), world.rng.uniform(0, 0.03))
    world.cluster.become(quality, world.cluster.lines())
    began = monotonic()
    await world.writes(20)
    world.clients.run.problems += too_early(world.clients.run.ops, began, 2 * quality.delay_seconds)


def far_apart(world: World) -> None:
    """Each way has its own delay, so what goes by way of a third may be there first."""
    for pair in world.cluster.lines():
        base = world.rng.choice((0.0, 0.01, 0.05, 0.12))
        world.cluster.become(Quality(base, world.rng.uniform(0, base)), [pair])


@fault("far-apart", least_members=3, relayed=True)
async def uneven(world: World) -> None:
    for _ in range(3):
        far_apart(world)
        await world.cluster.move_leader(world.anybody())
        await world.sleep(0.5, 1.0)


@fault("too-far", least_members=3, relayed=True)
async def too_far(world: World) -> None:
    """A round trip takes about as long as an election timeout: leaders come and go."""
    for _ in range(2):
        delay = world.rng.uniform(0.3, 0.8) * ELECTION_MS / 1000
        world.cluster.become(Quality(delay, delay / 2), world.cluster.lines())
        await world.sleep(1.5, 3.0)
        world.cluster.become(Quality(0.005, 0.005), world.cluster.lines())
        await world.sleep(0.2, 0.6)


@fault("slow-lines", least_members=3, relayed=True)
async def slow_lines(world: World) -> None:
    """A few kilobytes a second between the leader and some, or all: what is sent piles up."""
    leader = await world.cluster.leader()
    others = world.others(leader)
    slow = world.rng.sample(others, world.rng.choice((1, len(others))))
    quality = Quality(0.0, 0.01, world.rng.choice((2_000, 8_000, 30_000)))
    pairs = [(leader.slot, member.slot) for member in slow]
    pairs += [(to, of) for of, to in pairs] if world.rng.random() < 0.5 else []
    world.cluster.become(quality, pairs)
    await world.sleep(2.0, 4.0)


@fault("stall", least_members=3, relayed=True)
async def stall(world: World) -> None:
    """Connections live on and take what is sent; nothing arrives, and then all of it at once."""
    for _ in range(3):
        leader = await world.cluster.leader()
        victim = world.rng.choice([leader, world.anybody()])
        world.cluster.become(STALLED, _one_way_or_both(world, victim.slot))
        await world.sleep(0.2, 1.8)
        world.cluster.note("what was held up arrives")
        world.cluster.relays.heal()
        await world.sleep(0.1, 0.4)


def _one_way_or_both(world: World, slot: int) -> list[Pair]:
    pairs = [pair for pair in world.cluster.lines() if slot in pair]
    ways: tuple[list[Pair], ...] = (
        pairs,
        [pair for pair in pairs if pair[0] == slot],
        [pair for pair in pairs if pair[1] == slot],
    )
    return world.rng.choice(ways)


@fault("cut-frames", least_members=3, relayed=True)
async def cut_frames(world: World) -> None:
    """Connections between members end in the middle of what is being said."""
    lines = world.cluster.lines()
    await _cut(world, [world.rng.choice(lines) for _ in range(15)])


@fault("cut-answers", relayed=True)
async def cut_answers(world: World) -> None:
    """The same between members and clients: requests that came in part, answers that nobody got."""
    lines = world.cluster.client_lines(world.cluster.members)
    await _cut(world, [world.rng.choice(lines) for _ in range(15)])


async def _cut(world: World, pairs: Sequence[Pair]) -> None:
    relays = world.cluster.relays
    for pair in pairs:
        before = relays.cuts
        if relays.cut(*pair):
            # That line may be silent just now, or end by itself.
            with suppress(NotInTime):
                await wait_for(partial(relays.cut_since, before), _CUT_SECONDS, f"a cut of {pair}")
                world.cluster.note(f"cut {pair} in the middle")
        await world.sleep(0, 0.15)
    if not relays.cuts:
        world.clients.run.problems.append("no connection was cut")


@fault("far-clients", relayed=True)
async def far_clients(world: World) -> None:
    """Requests and answers take their time, one way more than the other, or stop for a while."""
    for member in world.cluster.members:
        there, back = world.cluster.client_lines([member])
        world.cluster.become(Quality(world.rng.uniform(0, 0.1), 0.05), [there])
        world.cluster.become(Quality(world.rng.uniform(0, 0.1), 0.05), [back])
    await world.sleep(1.0, 2.0)
    world.cluster.become(
        STALLED, [world.rng.choice(world.cluster.client_lines(world.cluster.members))]
    )
    await world.sleep(0.5, 2.0)
