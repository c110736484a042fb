"""`muster up`: from nothing, or from any half-way state, to a lab whose nodes are Ready.

    check -> identities | machines | code | images -> ssh -> provision -> access -> nodes

What is right already is left alone, so a second `up` changes nothing, and one that was cut off
is completed by the next.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from provision import kubeconfig
from provision.bundle import Layer
from provision.errors import HostNotReady, LabConflict
from provision.identities import LabRecord
from provision.phases.access import install_access
from provision.phases.down import remove_lab
from provision.phases.images import build_images, load_images
from provision.phases.monitoring import start_monitoring
from provision.phases.plan import Planned
from provision.phases.provision import apply_roles, build_code, wait_ssh, write_identities
from provision.phases.ready import wait_ready
from provision.phases.report import Phases, Reporter
from provision.phases.session import Session
from provision.providers.base import MachineState, Problem
from provision.ssh.keys import ensure_key
from provision.state import Store


@dataclass(frozen=True, slots=True)
class UpOptions:
    retain: bool = False
    wait: bool = True
    timeout: float = 180.0


@dataclass(slots=True)
class UpResult:
    record: LabRecord
    seconds: float
    changes: list[str] = field(default_factory=list)
    context_files: list[Path] = field(default_factory=list)


async def up(store: Store, planned: Planned, options: UpOptions, reporter: Reporter) -> UpResult:
    """Bring the lab up. When that fails, a lab that is new is taken away again."""
    record = planned.record
    phases = Phases(reporter)
    with store.locked(record.name):
        _claim(store, planned)
        session = Session(store, record)
        try:
            states = await _check(session, phases)
        except BaseException:
            if planned.is_new:
                store.remove(record.name)  # nothing is made yet, so nothing is retained
            raise
        try:
            return await _up(session, planned, states, options, phases)
        except BaseException:
            if planned.is_new and not options.retain:
                await _roll_back(session, phases)
            raise


def _claim(store: Store, planned: Planned) -> None:
    """Write the lab down before anything is made, so that `down` can always take it away."""
    with store.locked(".allocate", wait=True):
        if planned.is_new:
            if store.find(planned.record.name) is not None:
                raise LabConflict(
                    f'lab "{planned.record.name}" has just been made by another command',
                    "repeat the command",
                )
            for name, subnet in store.subnets().items():
                if subnet == planned.record.network.subnet:
                    raise LabConflict(f'lab "{name}" has just taken {subnet}', "repeat the command")
        ensure_key(store.directory(planned.record.name).ssh_key, f"muster-{planned.record.name}")
        if planned.record != planned.existing:
            store.save(planned.record)


async def _up(
    session: Session,
    planned: Planned,
    states: dict[str, MachineState],
    options: UpOptions,
    phases: Phases,
) -> UpResult:
    result = UpResult(session.record, 0.0)
    made, layers, archives = await _prepare(session, states, options, phases, result)
    with phases.phase("ssh") as step:
        targets = await wait_ssh(session, step)
    with phases.phase("provision") as step:
        outcome = await apply_roles(session, targets, archives, layers, step)
        step.note = "" if outcome.changed else "nothing to change"
        result.changes += [f"{m}: {c}" for m, said in outcome.changed.items() for c in said]
    with phases.phase("access") as step:
        result.context_files = await install_access(session)
        step.note = f"context {kubeconfig.context_name(session.record.name)}"
        result.changes += [f"{path} changed" for path in result.context_files]
    # What was started again has a past that the API still believes in.
    again = MachineState.STOPPED in states.values() or bool(outcome.changed)
    restarted = again and not planned.is_new
    await _finish(session, made, options, phases, result, restarted)
    # Last, so that its start takes nothing from that of the machines.
    result.changes += await start_monitoring(session, phases.reporter)
    result.seconds = phases.elapsed()
    phases.save(session.directory.timings)
    return result


async def _check(session: Session, phases: Phases) -> dict[str, MachineState]:
    """What stands in the way, before anything is made."""
    with phases.phase("check") as step:
        states = await session.states()
        if all(state == MachineState.RUNNING for state in states.values()):
            step.note = "all machines run"
            return states
        problems = await session.provider.check(session.spec)
        if problems:
            raise unprepared(problems)
        return states


def unprepared(problems: list[Problem]) -> HostNotReady:
    return HostNotReady(
        "this host cannot make the lab:\n" + "\n".join(f"- {p.text}" for p in problems),
        "\n  ".join(p.fix for p in problems if p.fix),
    )


async def _prepare(
    session: Session,
    states: dict[str, MachineState],
    options: UpOptions,
    phases: Phases,
    result: UpResult,
) -> tuple[list[Path], tuple[Layer, Layer], dict[str, Path]]:
    """What does not depend on each other, side by side: machines boot while code is packed."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_machines(session, states, options, phases, result), name="machines")
        identities = tasks.create_task(_identities(session, phases, result), name="identities")
        code = tasks.create_task(_code(session, phases), name="code")
        images = tasks.create_task(_images(session, phases), name="images")
    return images.result(), code.result(), identities.result()


async def _machines(
    session: Session,
    states: dict[str, MachineState],
    options: UpOptions,
    phases: Phases,
    result: UpResult,
) -> None:
    with phases.phase("machines") as step:
        idle = [name for name, state in states.items() if state != MachineState.RUNNING]
        if not idle:
            step.note = "all run"
            return
        await session.provider.create(session.spec, step.say, retain=options.retain)
        result.changes.append(f"machines started: {', '.join(idle)}")


async def _identities(session: Session, phases: Phases, result: UpResult) -> dict[str, Path]:
    with phases.phase("identities") as step:
        archives, pki = await asyncio.to_thread(write_identities, session.record, session.directory)
        if pki.made:
            step.note = f"{pki.made} certificates made"
            result.changes.append(step.note)
        return archives


async def _code(session: Session, phases: Phases) -> tuple[Layer, Layer]:
    with phases.phase("code") as step:
        return await asyncio.to_thread(build_code, session, step)


async def _images(session: Session, phases: Phases) -> list[Path]:
    with phases.phase("images") as step:
        return await asyncio.to_thread(build_images, session, step)


async def _finish(
    session: Session,
    images: list[Path],
    options: UpOptions,
    phases: Phases,
    result: UpResult,
    restarted: bool,
) -> None:
    async with asyncio.TaskGroup() as tasks:
        loading = tasks.create_task(_load(session, images, phases), name="load images")
        if options.wait:
            tasks.create_task(_nodes(session, options, phases, restarted), name="wait for nodes")
    result.changes += loading.result()


async def _load(session: Session, images: list[Path], phases: Phases) -> list[str]:
    with phases.phase("load images") as step:
        loaded = await load_images(session, images, step)
        step.note = "" if loaded else "all there"
        return loaded


async def _nodes(session: Session, options: UpOptions, phases: Phases, restarted: bool) -> None:
    with phases.phase("nodes") as step:
        await wait_ready(session, step, options.timeout, restarted=restarted)
        step.note = f"{len(session.record.machines)} Ready"


async def _roll_back(session: Session, phases: Phases) -> None:
    """Take away what a failed or interrupted `up` made."""
    phases.reporter.note("rolling back (--retain keeps what was made)")
    with phases.phase("roll back") as step:
        await asyncio.shield(remove_lab(session, step))
