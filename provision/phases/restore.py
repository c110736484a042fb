"""`muster kv snapshot restore`: another past for a lab, on all its masters or on none.

    check -> ship -> swap -> store -> nodes

The data directories are made on this host, so the machines need nothing for it. What stood there
before is kept beside the new one, `BEFORE`, until the next restore; when anything fails before the
new control plane runs, it goes back to its place.
"""

from __future__ import annotations

import asyncio
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from provision.errors import LabConflict, MachinesFailed
from provision.payload.masters import KVSTORE_DATA
from provision.payload.owners import KVSTORE
from provision.phases.ready import wait_ready
from provision.phases.report import Phases, Reporter, Step
from provision.phases.session import Session
from provision.providers.base import MachineState
from provision.ssh import over_ssh

RESTORED, BEFORE = f"{KVSTORE_DATA}.restored", f"{KVSTORE_DATA}.before-restore"
# Makes the data directory of the master of this name.
Make = Callable[[str, Path], None]

_PLACE = f"""set -e
rm -rf {RESTORED}
tar -xf {RESTORED}.tar -C "$(dirname {RESTORED})"
rm -f {RESTORED}.tar
chown -R {KVSTORE}:{KVSTORE} {RESTORED}
"""
# Who would write on is stopped before the store is, or it logs nothing but that it is gone.
_UNITS = "muster-controller-manager muster-scheduler muster-apiserver muster-kvstore"
_SWAP = f"""set -e
systemctl stop {_UNITS}
rm -rf {BEFORE}
[ ! -e {KVSTORE_DATA} ] || mv {KVSTORE_DATA} {BEFORE}
mv {RESTORED} {KVSTORE_DATA}
"""
_START = f"systemctl start {_UNITS}"  # until all are ready, which members are together only
# Whatever point a machine had reached. Of one that was not swapped yet, RESTORED is still there.
_UNDO = f"""systemctl stop {_UNITS}
if [ ! -e {RESTORED} ] && [ -e {BEFORE} ]; then
  rm -rf {KVSTORE_DATA}
  mv {BEFORE} {KVSTORE_DATA}
fi
rm -rf {RESTORED} {RESTORED}.tar
systemctl start --no-block {_UNITS}
"""


async def restore(
    session: Session,
    make: Make,
    reporter: Reporter,
    timeout: float,
) -> None:
    """Give every master the data directory that `make` makes for it, and start anew from there."""
    phases = Phases(reporter)
    with session.store.locked(session.record.name):
        with phases.phase("check") as step:
            await _check(session)
            step.note = f"{len(session.record.masters)} masters run"
        with phases.phase("ship") as step:
            await _ship(session, make, step)
        try:
            with phases.phase("swap") as step:
                await _everywhere(session, _SWAP, step, "old data set aside")
            with phases.phase("store") as step:
                await _everywhere(session, _START, step, "control plane runs")
        except BaseException:
            with phases.phase("undo") as step:
                await asyncio.shield(_everywhere(session, _UNDO, step, "as it was"))
            raise
        with phases.phase("nodes") as step:
            await wait_ready(session, step, timeout, restarted=True)
            step.note = f"{len(session.record.machines)} Ready"


async def _check(session: Session) -> None:
    states = await session.states()
    away = [m.name for m in session.record.masters if states[m.name] != MachineState.RUNNING]
    if away:
        raise LabConflict(
            f"{', '.join(away)}: not running, and every master must take the snapshot together",
            f"start them first: `muster start --name {session.record.name}`",
        )


async def _ship(session: Session, make: Make, step: Step) -> None:
    async def one(name: str, archive: Path) -> None:
        target = await session.target(name)
        await over_ssh(target, name, lambda c: c.put(archive, f"{RESTORED}.tar"))
        await _run(session, name, _PLACE)
        step.say(name, "has the snapshot")

    with tempfile.TemporaryDirectory(prefix="restore-", dir=session.directory.path) as scratch:
        names = [machine.name for machine in session.record.masters]
        archives = await asyncio.to_thread(_archives, names, make, Path(scratch))
        async with asyncio.TaskGroup() as tasks:
            for name, archive in archives.items():
                tasks.create_task(one(name, archive), name=f"ship to {name}")


def _archives(names: list[str], make: Make, scratch: Path) -> Mapping[str, Path]:
    found = {}
    for name in names:
        make(name, scratch / name)
        found[name] = scratch / f"{name}.tar"
        with tarfile.open(found[name], "w") as archive:
            archive.add(scratch / name, arcname=Path(RESTORED).name)
    return found


async def _everywhere(session: Session, script: str, step: Step, said: str) -> None:
    async def one(name: str) -> None:
        await _run(session, name, script)
        step.say(name, said)

    async with asyncio.TaskGroup() as tasks:
        for machine in session.record.masters:
            tasks.create_task(one(machine.name), name=f"{step.phase} on {machine.name}")


async def _run(session: Session, name: str, script: str) -> None:
    target = await session.target(name)
    done = await over_ssh(target, name, lambda c: c.run(["sh", "-c", script]))
    if done.status != 0:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.status}"
        raise MachinesFailed(f"{name}: {said}", f"see `muster logs kvstore --node {name}`")
