"""When the faults of a drill act: in sequence or in parallel, once or again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from drills.base import of
from drills.faults import Fault, tag
from drills.injection import Injector

# Injects fault number `index`, the `round`-th time, under a key.
Inject = Callable[[int, int, str], Awaitable[None]]


async def run(
    faults: tuple[Fault, ...],
    order: str,
    profile: str,
    injector: Injector,
    inject: Inject,
    chance: Random,
) -> None:
    """Until every fault has acted as often as it says, and those with a duration are over.

    Faults without a duration are left as they are: the drill takes them back when it has seen the
    recovery.
    """
    if order == "parallel":
        async with asyncio.TaskGroup() as group:
            for i, fault in enumerate(faults):
                work = _one(i, fault, profile, injector, inject, chance)
                group.create_task(work, name="fault")
        return
    for i, fault in enumerate(faults):
        await _one(i, fault, profile, injector, inject, chance)


async def _one(
    index: int, fault: Fault, profile: str, injector: Injector, inject: Inject, chance: Random
) -> None:
    await asyncio.sleep(fault.delay_seconds + chance.uniform(0, fault.jitter_seconds))
    for round_ in range(fault.repeat):
        if round_:
            await asyncio.sleep(fault.pause_seconds + chance.uniform(0, fault.jitter_seconds))
        key = f"{index + 1}-{tag(fault)}" + (f"-{round_ + 1}" if round_ else "")
        await inject(index, round_, key)
        if fault.duration_seconds is not None:
            await asyncio.sleep(of(fault.duration_seconds, profile))
            await injector.heal(key)
