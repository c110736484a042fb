"""`muster stop`, `start`, and the same for single machines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from provision.errors import LabNotFound
from provision.monitoring import server
from provision.phases.monitoring import start_monitoring
from provision.phases.ready import wait_ready
from provision.phases.report import Phases, Reporter
from provision.phases.session import Session
from provision.providers.base import MachineState


def chosen(session: Session, names: Sequence[str]) -> list[str] | None:
    """The machines called `names`, which must exist; None (all of the lab) for none."""
    for name in names:
        if session.record.machine(name) is None:
            known = ", ".join(m.name for m in session.record.machines)
            raise LabNotFound(
                f'lab "{session.record.name}" has no machine "{name}"', f"there are: {known}"
            )
    return list(names) or None


async def stop(
    session: Session, names: Sequence[str], reporter: Reporter, *, force: bool = False
) -> None:
    """Shut down in order, or pull the plug with `force`."""
    machines = chosen(session, names)
    phase = Phases(reporter).phase("power off" if force else "stop")
    with session.store.locked(session.record.name), phase as step:
        if force:
            await session.provider.power_off(session.spec, machines)
        else:
            await session.provider.stop(session.spec, machines, step.say)
        if machines is None:
            await asyncio.to_thread(server.stop, session.directory)


async def start(
    session: Session,
    names: Sequence[str],
    reporter: Reporter,
    *,
    wait: bool = True,
    timeout: float = 180,
) -> None:
    """Boot with the disk and identity they had; units start by themselves."""
    machines = chosen(session, names)
    phases = Phases(reporter)
    with session.store.locked(session.record.name):
        with phases.phase("machines") as step:
            states = await session.states()
            idle = [n for n in machines or states if states[n] != MachineState.RUNNING]
            await session.provider.start(session.spec, machines, step.say)
        if wait:
            with phases.phase("nodes") as step:
                await wait_ready(session, step, timeout, machines, restarted=bool(idle))
        await start_monitoring(session, reporter)
