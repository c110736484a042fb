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
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path

from provision.errors import LabConflict, MachinesFailed, ProvisionError
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
SET_ASIDE = f"""rm -rf {BEFORE}
[ ! -e {KVSTORE_DATA} ] || mv {KVSTORE_DATA} {BEFORE}
mv {RESTORED} {KVSTORE_DATA}
"""
# Whatever point that had reached. While both are still in their places nothing was swapped; what
# BEFORE holds is then of an earlier restore.
PUT_BACK = f"""if [ -e {BEFORE} ] && {{ [ ! -e {RESTORED} ] || [ ! -e {KVSTORE_DATA} ]; }}; then
  rm -rf {KVSTORE_DATA}
  mv {BEFORE} {KVSTORE_DATA}
fi
"""
# Who would write on is stopped before the store is, or it logs nothing but that it is gone.
_UNITS = "muster-controller-manager muster-scheduler muster-apiserver muster-kvstore"
_SWAP = f"set -e\nsystemctl stop {_UNITS}\n{SET_ASIDE}"
_START = f"systemctl start {_UNITS}"  # until all are ready, which members are together only
_CLEAN = f"rm -rf {RESTORED} {RESTORED}.tar\n"
_UNDO = f"systemctl stop {_UNITS}\n{PUT_BACK}{_CLEAN}systemctl start --no-block {_UNITS}"
# A script goes on when its connection breaks: the next one waits until it has ended.
_LOCK = "/run/muster-restore.lock"


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
        await _or_not(_ship, _CLEAN, session, make, phases)
        await _or_not(_replace, _UNDO, session, make, phases)
        with phases.phase("nodes") as step:
            await wait_ready(session, step, timeout, restarted=True)
            step.note = f"{len(session.record.machines)} Ready"


async def _or_not(
    work: Callable[[Session, Make, Phases], Awaitable[None]],
    undo: str,
    session: Session,
    make: Make,
    phases: Phases,
) -> None:
    """Do it on all masters, or have none of it left on any that answers."""
    try:
        await work(session, make, phases)
    except BaseException as error:
        try:
            with phases.phase("undo") as step:
                await asyncio.shield(_everywhere(session, undo, step, "as it was"))
        except ProvisionError as left:
            raise MachinesFailed(
                f"{error}\nand not every master is as it was: {left.message}",
                f"what a master had is in {BEFORE}, if it is not in {KVSTORE_DATA}",
            ) from error
        raise


async def _replace(session: Session, _: Make, phases: Phases) -> None:
    with phases.phase("swap") as step:
        await _everywhere(session, _SWAP, step, "old data set aside")
    with phases.phase("store") as step:
        await _everywhere(session, _START, step, "control plane runs")


async def _check(session: Session) -> None:
    states = await session.states()
    away = [m.name for m in session.record.masters if states[m.name] != MachineState.RUNNING]
    if away:
        raise LabConflict(
            f"{', '.join(away)}: not running, and every master must take the snapshot together",
            f"start them first: `muster start --name {session.record.name}`",
        )


async def _ship(session: Session, make: Make, phases: Phases) -> None:
    async def one(name: str, archive: Path) -> None:
        target = await session.target(name)
        await over_ssh(target, name, lambda c: c.put(archive, f"{RESTORED}.tar"))
        await _run(session, name, _PLACE)
        step.say(name, "has the snapshot")

    directory = session.directory.path
    with (
        phases.phase("ship") as step,
        tempfile.TemporaryDirectory(prefix="restore-", dir=directory) as scratch,
    ):
        names = [machine.name for machine in session.record.masters]
        archives = await asyncio.to_thread(_archives, names, make, Path(scratch))
        await _all(one(name, archive) for name, archive in archives.items())


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

    await _all(one(machine.name) for machine in session.record.masters)


async def _all(works: Iterable[Coroutine[None, None, None]]) -> None:
    """To the end of each, whatever becomes of the others; then the first failure counts."""
    for done in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(done, BaseException):
            raise done


async def _run(session: Session, name: str, script: str) -> None:
    target = await session.target(name)
    done = await over_ssh(target, name, lambda c: c.run(["flock", _LOCK, "sh", "-c", script]))
    if done.status != 0:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.status}"
        raise MachinesFailed(f"{name}: {said}", f"see `muster logs kvstore --node {name}`")
