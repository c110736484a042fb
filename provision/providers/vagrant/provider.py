"""The Vagrant provider's verbs. Each is one or two vagrant commands, checked afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

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
from provision.providers.lock import lock_file, locked
from provision.providers.ssh import scan_host_key
from provision.providers.vagrant.command import TimedOut, Vagrant
from provision.providers.vagrant.output import HostEntry, parse_ssh_config, parse_states
from provision.providers.vagrant.settings import (
    Settings,
    description,
    network_problems,
    parse_settings,
)

_VAGRANTFILE = Path(__file__).parents[3] / "Vagrantfile"
_QUESTION_SECONDS = 120.0  # status, ssh-config, validate: seconds of Ruby, more on a busy host
_DESTROY_SECONDS = 300.0
_NETWORKS_CONF = Path("/etc/vbox/networks.conf")


class VagrantProvider:
    """Virtual machines on this host."""

    name = "vagrant"
    fabric = None  # its network is out of our hands
    disks = None  # and so are its disks

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is added to vagrant's own, for a VAGRANT_HOME apart."""
        self._extra = dict(environment or {})

    async def check(self, lab: LabSpec) -> list[Problem]:
        try:
            settings = parse_settings(lab.options)
        except ProviderError as error:
            return [Problem(error.text, error.fix)]
        if shutil.which("vagrant") is None:
            packages = ("vagrant", f"vagrant-{settings.backend}")
            return [
                Problem("vagrant is missing", f"apt-get install {' '.join(packages)}", packages)
            ]
        conf = _NETWORKS_CONF.read_text() if _NETWORKS_CONF.exists() else ""
        problems = list(network_problems(lab, settings, conf))
        kvm_needed = settings.backend == "libvirt" and not settings.emulated
        if kvm_needed and not Path("/dev/kvm").exists():
            problems.append(
                Problem(
                    "this host has no /dev/kvm",
                    'enable virtualization, or set the option libvirt to {"driver": "qemu"}, '
                    "which is slow",
                )
            )
        return problems + await self._validate(lab, settings)

    async def create(
        self, lab: LabSpec, progress: Progress = silent, *, retain: bool = False
    ) -> None:
        problems = await self.check(lab)
        if problems:
            raise Unprepared(problems)
        async with locked(lab):
            vagrant = self._prepare(lab)
            before = await _states(vagrant)
            try:
                await self._up(lab, vagrant, lab.machines, before, progress)
            except BaseException:
                if not retain:
                    absent = MachineState.ABSENT
                    made = [m.name for m in lab.machines if before.get(m.name, absent) == absent]
                    await asyncio.shield(_roll_back(lab, vagrant, made))
                raise

    async def destroy(self, lab: LabSpec, progress: Progress = silent) -> None:
        if not _notes(lab).exists():
            return
        async with locked(lab):
            vagrant = self._vagrant(lab)
            if vagrant.description.exists():
                await _destroy(vagrant, (), progress)
            shutil.rmtree(_notes(lab))
            lock_file(lab.state_dir).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                lab.state_dir.rmdir()

    async def start(
        self, lab: LabSpec, names: Sequence[str] | None = None, progress: Progress = silent
    ) -> None:
        async with locked(lab):
            vagrant = self._prepare(lab)
            states = await self._existing(vagrant, lab, names)
            await self._up(lab, vagrant, lab.chosen(names), states, progress)

    async def stop(
        self, lab: LabSpec, names: Sequence[str] | None = None, progress: Progress = silent
    ) -> None:
        async with locked(lab):
            vagrant = self._vagrant(lab)
            running = await self._powered(vagrant, lab, names)
            if not running:
                return
            try:
                seconds = parse_settings(lab.options).halt_seconds
                await vagrant.run("halt", *running, seconds=seconds, progress=progress)
            except TimedOut:
                # Seen when a guest goes down so fast that its SSH session is never closed.
                await _force_off(vagrant, await self._powered(vagrant, lab, names))
            for name in running:
                progress(name, "stopped")

    async def power_off(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        async with locked(lab):
            vagrant = self._vagrant(lab)
            await _force_off(vagrant, await self._powered(vagrant, lab, names))

    async def pause(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        async with locked(lab):
            vagrant = self._vagrant(lab)
            states = await self._existing(vagrant, lab, names)
            chosen = [m.name for m in lab.chosen(names)]
            for name in chosen:
                if states[name] == MachineState.STOPPED:
                    raise ProviderError(f'machine "{name}" is stopped', "start it first")
            running = [name for name in chosen if states[name] == MachineState.RUNNING]
            if running:
                await vagrant.run("suspend", *running, seconds=_QUESTION_SECONDS)

    async def resume(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        async with locked(lab):
            vagrant = self._vagrant(lab)
            states = await self._states_if_any(vagrant, lab)
            chosen = [m.name for m in lab.chosen(names)]
            paused = [name for name in chosen if states[name] == MachineState.PAUSED]
            if paused:
                seconds = parse_settings(lab.options).boot_seconds
                await vagrant.run("resume", *paused, seconds=seconds)

    async def states(self, lab: LabSpec) -> dict[str, MachineState]:
        return await self._states_if_any(self._vagrant(lab), lab)

    async def ssh_target(self, lab: LabSpec, name: str) -> SshTarget:
        lab.machine(name)
        saved = _ssh_config(_notes(lab), name)
        if not saved.exists():
            raise ProviderError(f'machine "{name}" has never been up', "make it with `muster up`")
        entry = parse_ssh_config(saved.read_text())[name]
        key = await self._host_key(lab, name, entry)
        return SshTarget(entry.host, entry.port, entry.user, Path(entry.key_file), key)

    async def _host_key(self, lab: LabSpec, name: str, entry: HostEntry) -> str:
        """Read from the machine on first use, over the host's own virtual network, then kept."""
        kept = _notes(lab) / f"{name}.host-key"
        if not kept.exists():
            kept.write_text(await scan_host_key(name, entry.host, entry.port) + "\n")
        return kept.read_text().strip()

    def _vagrant(self, lab: LabSpec) -> Vagrant:
        notes = _notes(lab)
        backend = parse_settings(lab.options).backend
        return Vagrant(_VAGRANTFILE, notes, notes / "lab.json", backend, self._extra)

    def _prepare(self, lab: LabSpec) -> Vagrant:
        """Write down what the Vagrantfile reads: the lab may have changed since."""
        vagrant = self._vagrant(lab)
        vagrant.notes.mkdir(parents=True, exist_ok=True)
        vagrant.description.write_text(description(lab, parse_settings(lab.options)))
        return vagrant

    async def _validate(self, lab: LabSpec, settings: Settings) -> list[Problem]:
        """Let vagrant itself read the rendered lab, in a place that is thrown away."""
        if not _VAGRANTFILE.exists():
            return [Problem(f"{_VAGRANTFILE} is missing", "use Muster from its source tree")]
        with TemporaryDirectory(prefix="muster-vagrant-") as directory:
            notes = Path(directory)
            trial = Vagrant(_VAGRANTFILE, notes, notes / "lab.json", settings.backend, self._extra)
            trial.description.write_text(description(lab, settings))
            try:
                await trial.run("validate", seconds=_QUESTION_SECONDS)
            except TimedOut as error:
                return [Problem(str(error), "try again when this host is less busy")]
            except ProviderError as error:
                return [Problem(error.text, error.fix)]
        return []

    async def _up(
        self,
        lab: LabSpec,
        vagrant: Vagrant,
        machines: Sequence[MachineSpec],
        states: Mapping[str, MachineState],
        progress: Progress,
    ) -> None:
        running = MachineState.RUNNING
        booting = [m.name for m in machines if states.get(m.name) != running]
        if booting:
            # The box is uploaded first, and small hosts boot one after the other in effect.
            seconds = parse_settings(lab.options).boot_seconds * (1 + len(booting))
            try:
                await vagrant.run("up", *booting, "--parallel", seconds=seconds, progress=progress)
            except TimedOut as error:
                raise ProviderError(str(error), "raise the option boot_seconds") from error
        notes = vagrant.notes
        # Asked anew after every boot: VirtualBox may forward another port this time.
        unknown = [
            m.name for m in machines if m.name in booting or not _ssh_config(notes, m.name).exists()
        ]
        for name in unknown:
            text = await vagrant.run("ssh-config", name, seconds=_QUESTION_SECONDS)
            _ssh_config(notes, name).write_text(text)
            progress(name, "reachable by SSH")

    async def _states_if_any(self, vagrant: Vagrant, lab: LabSpec) -> dict[str, MachineState]:
        known = await _states(vagrant) if vagrant.description.exists() else {}
        return {m.name: known.get(m.name, MachineState.ABSENT) for m in lab.machines}

    async def _existing(
        self, vagrant: Vagrant, lab: LabSpec, names: Sequence[str] | None
    ) -> dict[str, MachineState]:
        states = await self._states_if_any(vagrant, lab)
        for machine in lab.chosen(names):
            if states[machine.name] == MachineState.ABSENT:
                raise ProviderError(
                    f'machine "{machine.name}" does not exist', "make it with `muster up`"
                )
        return states

    async def _powered(
        self, vagrant: Vagrant, lab: LabSpec, names: Sequence[str] | None
    ) -> list[str]:
        states = await self._states_if_any(vagrant, lab)
        powered = (MachineState.RUNNING, MachineState.PAUSED)
        return [m.name for m in lab.chosen(names) if states[m.name] in powered]


def _notes(lab: LabSpec) -> Path:
    return lab.state_dir / "vagrant"


def _ssh_config(notes: Path, name: str) -> Path:
    return notes / f"{name}.ssh-config"


async def _states(vagrant: Vagrant) -> dict[str, MachineState]:
    text = await vagrant.run("status", "--machine-readable", seconds=_QUESTION_SECONDS)
    return parse_states(text)


async def _force_off(vagrant: Vagrant, names: Sequence[str]) -> None:
    if names:
        await vagrant.run("halt", "--force", *names, seconds=_QUESTION_SECONDS)


async def _destroy(vagrant: Vagrant, names: Sequence[str], progress: Progress) -> None:
    """One after the other, and each once more if need be: with some machines halted, parallel
    destroying ends in an error of vagrant-libvirt's and leaves them behind."""
    with contextlib.suppress(ProviderError, TimedOut):
        await _destroy_once(vagrant, names, progress)
    states = await _states(vagrant)
    left = [n for n in (names or states) if states.get(n) not in (None, MachineState.ABSENT)]
    for name in left:
        await _destroy_once(vagrant, [name], progress)


async def _destroy_once(vagrant: Vagrant, names: Sequence[str], progress: Progress) -> None:
    arguments = ("destroy", "--force", "--no-parallel", *names)
    await vagrant.run(*arguments, seconds=_DESTROY_SECONDS, progress=progress)


async def _roll_back(lab: LabSpec, vagrant: Vagrant, names: Sequence[str]) -> None:
    if names:
        await _destroy(vagrant, names, silent)
    states = await _states(vagrant)
    if all(state == MachineState.ABSENT for state in states.values()):
        shutil.rmtree(_notes(lab))
    for name in names:
        for kept in ("ssh-config", "host-key"):
            (_notes(lab) / f"{name}.{kept}").unlink(missing_ok=True)
