"""The local provider's verbs. Each makes the host agree with what is asked, from any state."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from provision.providers.base import (
    LabSpec,
    MachineSpec,
    MachineState,
    Problem,
    Progress,
    ProviderError,
    SshTarget,
    Unprepared,
    silent,
)
from provision.providers.identity import ensure_identity, read_identity
from provision.providers.local import cgroupfs, checks, network, processes, strays
from provision.providers.local.cgroups import CgroupLayout, MachineSize
from provision.providers.local.disk import ensure_disk, wait_unmounted
from provision.providers.local.disks import LocalDisks
from provision.providers.local.etc import HostFacts
from provision.providers.local.fabric import LocalFabric
from provision.providers.local.hostfacts import read_host_facts
from provision.providers.local.spec import base_of, launch_spec
from provision.providers.local.state import LabPaths
from provision.providers.local.waiting import wait_ended, wait_for_sshd
from provision.providers.lock import locked
from provision.providers.together import together

# SIGRTMIN+4 asks systemd as PID 1 for an orderly poweroff (systemd(1), "Signals").
_POWEROFF_SIGNAL = signal.SIGRTMIN + 4
_STOP_SECONDS = 30.0
_SOURCE_ROOT = Path(__file__).parents[3]


class LocalProvider:
    """System containers on this host."""

    name = "local"
    fabric = LocalFabric()
    disks = LocalDisks()

    async def check(self, lab: LabSpec) -> list[Problem]:
        return await checks.host_problems(lab)

    async def create(
        self, lab: LabSpec, progress: Progress = silent, *, retain: bool = False
    ) -> None:
        problems = await self.check(lab)
        if problems:
            raise Unprepared(problems)
        async with locked(lab):
            paths = LabPaths(lab.state_dir)
            fresh = paths.claim_is_new()
            made = [m.name for m in lab.machines if not paths.machine(m.name).exists]
            try:
                paths.claim(lab)
                await _boot_all(lab, lab.machines, progress)
            except BaseException:
                if not retain:
                    await asyncio.shield(_roll_back(lab, made, whole=fresh))
                raise

    async def destroy(self, lab: LabSpec, progress: Progress = silent) -> None:
        if not _traces(lab):
            return
        async with locked(lab):
            await _destroy_machines(lab, sorted(_present(lab)), progress)
            await _destroy_lab(lab)
            progress("", "network and state removed")

    async def start(
        self, lab: LabSpec, names: Sequence[str] | None = None, progress: Progress = silent
    ) -> None:
        async with locked(lab):
            machines = _existing(lab, names)
            await _boot_all(lab, machines, progress)

    async def stop(
        self, lab: LabSpec, names: Sequence[str] | None = None, progress: Progress = silent
    ) -> None:
        async with locked(lab):
            await together(*(_stop(lab, m, progress) for m in lab.chosen(names)))

    async def power_off(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        async with locked(lab):
            await together(*(_power_off(lab, m.name) for m in lab.chosen(names)))

    async def pause(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        async with locked(lab):
            layout = cgroupfs.host_layout()
            for machine in _existing(lab, names):
                if _state(lab, layout, machine.name) == MachineState.STOPPED:
                    raise ProviderError(f'machine "{machine.name}" is stopped', "start it first")
                cgroupfs.set_frozen(layout, lab.name, machine.name, frozen=True)

    async def resume(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        async with locked(lab):
            for machine in lab.chosen(names):
                cgroupfs.set_frozen(cgroupfs.host_layout(), lab.name, machine.name, frozen=False)

    async def states(self, lab: LabSpec) -> dict[str, MachineState]:
        layout = cgroupfs.host_layout()
        return {m.name: _state(lab, layout, m.name) for m in lab.machines}

    async def ssh_target(self, lab: LabSpec, name: str) -> SshTarget:
        machine = lab.machine(name)
        identity = read_identity(LabPaths(lab.state_dir).machine(name).identity)
        if identity is None:
            raise _absent(name)
        return SshTarget(machine.address, 22, "root", lab.ssh_private_key, identity.host_key_public)


def _absent(name: str) -> ProviderError:
    return ProviderError(f'machine "{name}" does not exist', "make it with `muster up`")


def _existing(lab: LabSpec, names: Sequence[str] | None) -> tuple[MachineSpec, ...]:
    chosen = lab.chosen(names)
    for machine in chosen:
        if not LabPaths(lab.state_dir).machine(machine.name).exists:
            raise _absent(machine.name)
    return chosen


def _present(lab: LabSpec) -> set[str]:
    """Every machine of which any trace is left, whether the lab file still knows it or not."""
    layout = cgroupfs.host_layout()
    return (
        LabPaths(lab.state_dir).names()
        | network.machines_present(lab.name)
        | cgroupfs.machines_present(layout, lab.name)
    )


def _traces(lab: LabSpec) -> bool:
    paths = LabPaths(lab.state_dir)
    return (
        paths.machines.exists()
        or paths.lock.exists()
        or network.lab_present(lab.name)
        or bool(_present(lab))
        or cgroupfs.lab_present(cgroupfs.host_layout(), lab.name)
    )


def _state(lab: LabSpec, layout: CgroupLayout, name: str) -> MachineState:
    paths = LabPaths(lab.state_dir).machine(name)
    if not paths.exists:
        return MachineState.ABSENT
    if not processes.is_alive(processes.read_record(paths.process)):
        return MachineState.STOPPED
    frozen = cgroupfs.is_frozen(layout, lab.name, name)
    return MachineState.PAUSED if frozen else MachineState.RUNNING


async def _boot_all(lab: LabSpec, machines: Sequence[MachineSpec], progress: Progress) -> None:
    strays.note(lab)
    await network.make_lab_network(lab)
    facts = read_host_facts()
    await together(*(_boot(lab, machine, facts, progress) for machine in machines))


async def _boot(lab: LabSpec, machine: MachineSpec, facts: HostFacts, progress: Progress) -> None:
    layout = cgroupfs.host_layout()
    state = _state(lab, layout, machine.name)
    if state == MachineState.PAUSED:
        cgroupfs.set_frozen(layout, lab.name, machine.name, frozen=False)
        progress(machine.name, "resumed")
        return
    paths = LabPaths(lab.state_dir).machine(machine.name)
    if state != MachineState.RUNNING:
        await _power_off(lab, machine.name)
        await _prepare_and_launch(lab, machine, layout, facts)
        progress(machine.name, "booting")
    await wait_for_sshd(machine, paths)
    progress(machine.name, f"reachable by SSH at {machine.address}")


async def _prepare_and_launch(
    lab: LabSpec, machine: MachineSpec, layout: CgroupLayout, facts: HostFacts
) -> None:
    paths = LabPaths(lab.state_dir).machine(machine.name)
    identity = ensure_identity(paths.identity)
    await ensure_disk(paths, machine)
    base = base_of(lab, machine)
    await network.make_machine_network(lab, machine, base)
    size = MachineSize(machine.cpus, machine.memory_mib, machine.pids)
    cgroupfs.make(layout, lab.name, machine.name, size, base or 0)
    spec = launch_spec(lab, machine, layout, identity, facts)
    paths.launch.touch(0o600)  # it carries the host key
    paths.launch.write_text(json.dumps(spec))
    try:
        await _launch(machine.name, paths.launch)
    finally:
        paths.launch.unlink()


async def _launch(name: str, spec: Path) -> None:
    """Run the launcher: without site packages, because it starts in a third of the time."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",
        "-m",
        "provision.providers.local.launch",
        str(spec),
        cwd=_SOURCE_ROOT,
        env={"PYTHONPATH": str(_SOURCE_ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, error = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise ProviderError(f'cannot launch machine "{name}": {error.decode().strip()}')


async def _stop(lab: LabSpec, machine: MachineSpec, progress: Progress) -> None:
    paths = LabPaths(lab.state_dir).machine(machine.name)
    handle = processes.open_alive(processes.read_record(paths.process))
    if handle is not None:
        cgroupfs.set_frozen(cgroupfs.host_layout(), lab.name, machine.name, frozen=False)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, _POWEROFF_SIGNAL)
        orderly = await wait_ended(handle, _STOP_SECONDS)
        progress(machine.name, "stopped" if orderly else "did not stop in time: killed")
    await _power_off(lab, machine.name)


async def _power_off(lab: LabSpec, name: str) -> None:
    """Pull the cable, then kill: the network hears nothing of the dying."""
    paths = LabPaths(lab.state_dir).machine(name)
    layout = cgroupfs.host_layout()
    await network.unplug(lab.name, name)
    await cgroupfs.kill(layout, lab.name, name)
    await wait_unmounted(paths)
    await cgroupfs.remove_machine(layout, lab.name, name)
    paths.process.unlink(missing_ok=True)


async def _destroy_machines(lab: LabSpec, names: Sequence[str], progress: Progress) -> None:
    await together(*(_destroy_machine(lab, name, progress) for name in names))


async def _destroy_machine(lab: LabSpec, name: str, progress: Progress) -> None:
    await _power_off(lab, name)
    await network.remove_machine_network(lab.name, name)
    directory = LabPaths(lab.state_dir).machine(name).directory
    if directory.exists():
        await asyncio.to_thread(shutil.rmtree, directory)
    progress(name, "removed")


async def _destroy_lab(lab: LabSpec) -> None:
    await network.remove_lab_network(lab.name)
    await cgroupfs.remove_lab(cgroupfs.host_layout(), lab.name)
    LabPaths(lab.state_dir).remove()
    strays.forget(lab.name)


async def remove_stray(lab: str, state_dir: Path | None, progress: Progress) -> None:
    """Remove a lab of which only the name is known, and maybe the directory it was made from."""
    with tempfile.TemporaryDirectory(prefix="muster-prune-") as nowhere:
        await LocalProvider().destroy(strays.spec(lab, state_dir or Path(nowhere, lab)), progress)


async def _roll_back(lab: LabSpec, names: Sequence[str], *, whole: bool) -> None:
    await _destroy_machines(lab, names, silent)
    if whole:
        await _destroy_lab(lab)
