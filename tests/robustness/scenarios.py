"""What is done to a cluster while clients are at work: each fault by its name.

A fault is a coroutine on the world; whatever it leaves broken is healed after it.
"""

from __future__ import annotations

import asyncio

from tests.robustness.disk import Throttle
from tests.robustness.history import Write
from tests.robustness.members import Member
from tests.robustness.slownet import far_apart
from tests.robustness.world import FAULTS, World, fault

__all__ = ["FAULTS"]  # whoever takes it from here has all faults, those of the slow network, too


@fault("kill")
async def kill_anybody(world: World) -> None:
    for _ in range(2):
        victim = world.anybody()
        world.cluster.kill(victim)
        await world.sleep(0, 0.5)
        world.cluster.lose_unsynced(victim)
        world.cluster.start_again(victim)
        await world.sleep(0.2, 0.8)


@fault("kill-leader", least_members=3)
async def kill_leader(world: World) -> None:
    for _ in range(2):
        leader = await world.cluster.leader()
        world.cluster.kill(leader)
        await world.sleep(0.3, 0.8)
        world.cluster.lose_unsynced(leader)
        world.cluster.start_again(leader)
        await world.sleep(0.2, 0.5)


@fault("pause")
async def pause_anybody(world: World) -> None:
    await _pause(world, world.anybody(), 0.3, 1.5)


@fault("pause-leader", least_members=3)
async def pause_leader(world: World) -> None:
    await _pause(world, await world.cluster.leader(), 0.7, 2.0)


async def _pause(world: World, victim: Member, low: float, high: float) -> None:
    """It wakes up believing that no time has passed."""
    world.cluster.note(f"pause {victim.name}")
    victim.pause()
    await world.sleep(low, high)
    world.cluster.note(f"resume {victim.name}")
    victim.resume()
    await world.sleep(0.2, 0.5)


@fault("lease-pause", least_members=3)
async def lease_pause(world: World) -> None:
    """A leader that was asleep while another one took over is asked to keep leases alive at the
    moment it wakes up, and nobody tells it: what it promises then must hold, or it must promise
    nothing."""
    leader, ttl = await world.cluster.leader(), 4
    leases = [world.rng.getrandbits(60) + 1 for _ in range(5)]
    for lease in leases:
        await _hold(world, leader, lease, ttl)
    world.cluster.cut([leader], world.others(leader))
    world.cluster.note(f"pause {leader.name}")
    leader.pause()
    await asyncio.sleep(ttl - 1.3)
    renewals = [
        world.clients.do(world.clients.operation("renew", leader, lease=lease), leader)
        for lease in leases
    ]
    waking = asyncio.gather(*renewals)
    await world.sleep(0.3, 0.6)
    world.cluster.note(f"resume {leader.name}")
    leader.resume()
    await waking
    world.cluster.reconnect_all()


async def _hold(world: World, member: Member, lease: int, ttl: int) -> None:
    do, make = world.clients.do, world.clients.operation
    if (await do(make("grant", member, lease=lease, ttl=ttl), member)).answered:
        value = f"held.{lease:x}"
        await do(make("put", member, writes=[Write(f"l/{value}", value, lease)]), member)


@fault("cut-leader", least_members=3)
async def cut_leader(world: World) -> None:
    """Clients still reach the leader that reaches nobody."""
    leader = await world.cluster.leader()
    await _cut(world, [leader], world.others(leader))


@fault("cut-minority", least_members=3)
async def cut_minority(world: World) -> None:
    members = world.cluster.members
    minority = world.cluster.pick((len(members) - 1) // 2)
    await _cut(world, minority, world.others(*minority))


@fault("cut-all", least_members=3)
async def cut_all(world: World) -> None:
    """Nobody has a majority, for a while."""
    for member in world.cluster.members:
        world.cluster.cut([member], world.others(member))
    await world.sleep(0.5, 1.2)
    world.cluster.reconnect_all()


@fault("deaf", least_members=3)
async def deaf(world: World) -> None:
    """One way: it is heard, and hears nobody."""
    leader = await world.cluster.leader()
    await _cut(world, [world.rng.choice([leader, world.anybody()])], None, "in")


@fault("mute", least_members=3)
async def mute(world: World) -> None:
    """One way: it hears everybody, and is not heard."""
    leader = await world.cluster.leader()
    await _cut(world, [world.rng.choice([leader, world.anybody()])], None, "out")


@fault("bridge", least_members=3)
async def bridge(world: World) -> None:
    """Two halves, and one member that reaches both."""
    members = world.cluster.pick(len(world.cluster.members))
    half = (len(members) - 1) // 2
    await _cut(world, members[1 : 1 + half], members[1 + half :])


async def _cut(
    world: World, near: list[Member], far: list[Member] | None, how: str = "both"
) -> None:
    world.cluster.cut(near, world.others(*near) if far is None else far, how)
    await world.sleep(1.0, 2.0)
    world.cluster.reconnect_all()
    await world.sleep(0.2, 0.5)


@fault("unplug")
async def unplug(world: World) -> None:
    """Nobody reaches it, clients neither."""
    world.cluster.unplug(world.anybody())
    await world.sleep(0.5, 1.5)
    world.cluster.reconnect_all()


@fault("disk-full", small_disk=True)
async def disk_full(world: World) -> None:
    victim = world.cluster.members[0]
    world.cluster.fill_disk(victim)
    await world.sleep(0.8, 1.5)
    world.cluster.free_disk(victim)
    await world.sleep(0.2, 0.6)
    # Ours must have lived through it; stock etcd ends on a failed write.
    if world.cluster.program.ours and not victim.alive:
        world.clients.run.problems.append(f"{victim.name} ended because its disk was full")


@fault("disk-slow", possible=Throttle.possible)
async def disk_slow(world: World) -> None:
    for victim in world.cluster.pick(1 if world.rng.random() < 0.5 else len(world.cluster.members)):
        world.cluster.slow_disk(victim, world.rng.choice((20, 40, 80)))
    await world.sleep(1.0, 1.8)
    if world.rng.random() < 0.5:
        victim = world.anybody()
        world.cluster.kill(victim)
        world.cluster.lose_unsynced(victim)
    world.cluster.unthrottle()


@fault("move-leader", least_members=3)
async def move_leader(world: World) -> None:
    for _ in range(4):
        await world.cluster.move_leader(world.anybody())
        await world.sleep(0.1, 0.4)


@fault("replace")
async def replace(world: World) -> None:
    """Remove one, add a new one as a learner, promote it. A single member goes last."""
    victim = world.anybody()
    single = len(world.cluster.members) == 1
    if not single:
        await world.cluster.remove(victim)
    new = await world.cluster.add()
    await world.cluster.promote(new)
    if single:
        await world.cluster.move_leader(new)
        await world.cluster.remove(victim)
    await world.sleep(0.1, 0.5)
    world.cluster.kill(victim)


@fault("maintenance")
async def maintenance(world: World) -> None:
    """Compact and defragment all the time, and kill somebody meanwhile."""
    world.compactor.pause_seconds = 0.02
    for _ in range(6):
        await world.cluster.defragment(world.anybody())
        await world.sleep(0, 0.2)
    await kill_anybody(world)
    world.compactor.pause_seconds = 0.4


@fault("power-loss")
async def power_loss(world: World) -> None:
    """All at once, and what was not synced is gone. A majority must have everything, also when
    who led comes back later."""
    cluster = world.cluster
    minority = (len(cluster.members) - 1) // 2
    late = [await cluster.leader()] if minority and world.rng.random() < 0.7 else []
    cluster.kill_all()
    for member in cluster.members:
        cluster.lose_unsynced(member)
    await world.sleep(0, 0.3)
    early = world.others(*late)
    for member in world.rng.sample(early, len(early)):
        cluster.start_again(member)
        await world.sleep(0, 0.2)
    if late:
        await cluster.wait_serving(60, early)
    for member in late:
        cluster.start_again(member)


@fault("power-loss-slow", failpoint="wal-after-append:1:sleep=0.08")
async def power_loss_on_slow_disks(world: World) -> None:
    """It is long between a follower's write and its fsync, and the leader's disk is fast."""
    await world.cluster.move_leader(world.cluster.members[0])
    await world.writes(20)
    await power_loss(world)


@fault("restart")
async def rolling_restart(world: World) -> None:
    """One after the other, in order, as an upgrade does."""
    for member in world.cluster.pick(len(world.cluster.members)):
        world.cluster.note(f"terminate {member.name}")
        member.terminate()
        await world.cluster.died(member, 60, "SIGTERM")
        world.cluster.start_again(member)
        await world.cluster.wait_serving(60, [member])


_STORM = (
    "kill", "kill-leader", "pause", "pause-leader", "cut-leader", "cut-minority", "deaf", "mute",
    "bridge", "unplug", "disk-slow", "move-leader", "power-loss",
)  # fmt: skip


@fault("storm")
async def storm(world: World) -> None:
    """Several faults one after the other, without waiting for recovery."""
    count = len(world.cluster.members)
    possible = [n for n in _STORM if FAULTS[n].least_members <= count and FAULTS[n].possible()]
    for name in world.rng.sample(possible, 3):
        world.cluster.note(f"now {name}")
        for member in world.cluster.members:
            if not member.alive:
                world.cluster.start_again(member)
        await FAULTS[name].act(world)


@fault("storm-far-apart", least_members=3, relayed=True)
async def storm_far_apart(world: World) -> None:
    """The same while messages take their time, on each way another one."""
    far_apart(world)
    await storm(world)
