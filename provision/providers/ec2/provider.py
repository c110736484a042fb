"""The EC2 provider's verbs, over the blocking calls of `cloud`, one lab at a time."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from provision.providers.base import (
    LabSpec,
    MachineState,
    Problem,
    Progress,
    ProviderError,
    SshTarget,
    Unprepared,
    silent,
)
from provision.providers.ec2.cloud import Cloud, Instance, connect
from provision.providers.ec2.errors import explained
from provision.providers.ec2.settings import (
    Settings,
    instance_type,
    network_problems,
    parse_settings,
)
from provision.providers.identity import ensure_identity, read_identity
from provision.providers.lock import lock_file, locked
from provision.providers.ssh import wait_for_ssh
from provision.providers.together import together

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

Result = TypeVar("Result")
Reachable = Callable[[str, SshTarget, float], Awaitable[None]]


class Ec2Provider:
    """Instances in a VPC of the lab's own."""

    name = "ec2"
    fabric = None  # its network is out of our hands
    disks = None  # and so are its disks

    def __init__(self, reachable: Reachable = wait_for_ssh) -> None:
        self._reachable = reachable
        self._clients: dict[Settings, EC2Client] = {}  # making one takes a third of a second

    async def check(self, lab: LabSpec) -> list[Problem]:
        problems = list(network_problems(lab))
        try:
            cloud = await self._cloud(lab)
            problems += await _blocking(_account_problems, lab, cloud)
        except ProviderError as error:
            problems.append(Problem(error.text, error.fix))
        return problems

    async def create(
        self, lab: LabSpec, progress: Progress = silent, *, retain: bool = False
    ) -> None:
        problems = await self.check(lab)
        if problems:
            raise Unprepared(problems)
        async with locked(lab):
            cloud = await self._cloud(lab)
            whole = await _blocking(cloud.vpc) is None
            before = await _blocking(cloud.instances)
            try:
                await self._create(lab, cloud, before, progress)
            except BaseException:
                if not retain:
                    await asyncio.shield(_roll_back(lab, cloud, set(before), whole=whole))
                raise

    async def destroy(self, lab: LabSpec, progress: Progress = silent) -> None:
        async with locked(lab):
            cloud = await self._cloud(lab)
            await _destroy(lab, cloud, progress)
            lock_file(lab.state_dir).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                lab.state_dir.rmdir()

    async def start(
        self, lab: LabSpec, names: Sequence[str] | None = None, progress: Progress = silent
    ) -> None:
        async with locked(lab):
            cloud = await self._cloud(lab)
            found = await _existing(cloud, lab, names)
            await self._start(lab, cloud, list(found.values()), progress)

    async def stop(
        self, lab: LabSpec, names: Sequence[str] | None = None, progress: Progress = silent
    ) -> None:
        for name in await self._halt(lab, names, force=False):
            progress(name, "stopped")

    async def power_off(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        """EC2's nearest thing to a plug: stop without waiting for the operating system."""
        await self._halt(lab, names, force=True)

    async def pause(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        raise ProviderError("EC2 cannot freeze an instance in place", "use power-off instead")

    async def resume(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        """Nothing is ever paused."""
        lab.chosen(names)

    async def states(self, lab: LabSpec) -> dict[str, MachineState]:
        cloud = await self._cloud(lab)
        found = await _blocking(cloud.instances)
        absent = MachineState.ABSENT
        return {m.name: found[m.name].state if m.name in found else absent for m in lab.machines}

    async def ssh_target(self, lab: LabSpec, name: str) -> SshTarget:
        cloud = await self._cloud(lab)
        found = await _existing(cloud, lab, [name])
        return _target(lab, found[name])

    async def _cloud(self, lab: LabSpec) -> Cloud:
        settings = parse_settings(lab.options)
        client = self._clients.get(settings)
        if client is None:
            client = self._clients[settings] = await _blocking(connect, settings)
        return Cloud(client, lab, settings)

    async def _create(
        self, lab: LabSpec, cloud: Cloud, before: dict[str, Instance], progress: Progress
    ) -> None:
        missing = [m for m in lab.machines if m.name not in before]
        if missing:
            subnet, group = await _blocking(cloud.ensure_network)
            key = await _blocking(cloud.ensure_key)
            progress("", "network ready")
            for machine in missing:
                identity = ensure_identity(_identity(lab, machine.name))
                await _blocking(cloud.run, machine, identity, subnet, group, key)
                progress(machine.name, "instance started")
        found = await _existing(cloud, lab, None)
        await self._start(lab, cloud, list(found.values()), progress)

    async def _start(
        self, lab: LabSpec, cloud: Cloud, instances: Sequence[Instance], progress: Progress
    ) -> None:
        stopped = [i for i in instances if i.state == MachineState.STOPPED]
        stopping = [i.id for i in stopped if not i.settled]
        if stopping:
            await _blocking(cloud.wait_stopped, stopping)
        if stopped:
            await _blocking(cloud.start, [i.id for i in stopped])
        await _blocking(cloud.wait_running, [i.id for i in instances])
        for instance in instances:
            await _blocking(cloud.route_for_pods, instance.id)
        # A new look: public addresses change with every start.
        found = await _existing(cloud, lab, [i.machine for i in instances])
        seconds = parse_settings(lab.options).boot_seconds
        await together(*(self._wait(lab, i, seconds, progress) for i in found.values()))

    async def _wait(
        self, lab: LabSpec, instance: Instance, seconds: float, progress: Progress
    ) -> None:
        target = _target(lab, instance)
        await self._reachable(instance.machine, target, seconds)
        progress(instance.machine, f"reachable by SSH at {target.host}")

    async def _halt(self, lab: LabSpec, names: Sequence[str] | None, *, force: bool) -> list[str]:
        async with locked(lab):
            cloud = await self._cloud(lab)
            found = await _blocking(cloud.instances)
            chosen = [found[m.name] for m in lab.chosen(names) if m.name in found]
            running = [i.id for i in chosen if i.state == MachineState.RUNNING]
            if running:
                await _blocking(cloud.stop, running, force=force)
            if chosen:
                await _blocking(cloud.wait_stopped, [i.id for i in chosen])
            return [i.machine for i in chosen if i.id in running]


async def _blocking(call: Callable[..., Result], *args: object, **options: object) -> Result:
    """Make the call in a thread. A cancelled caller still waits for it: AWS does not undo."""
    thread = asyncio.ensure_future(asyncio.to_thread(call, *args, **options))
    try:
        with explained():
            return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise


def _account_problems(lab: LabSpec, cloud: Cloud) -> list[Problem]:
    cidr = cloud.vpc_cidr()
    if cidr not in (None, lab.network.subnet):
        return [
            Problem(
                f'lab "{lab.name}" exists already in this region, with subnet {cidr}',
                "remove that lab first, or give this one another name",
            )
        ]
    image, _ = cloud.image()
    settings = parse_settings(lab.options)
    for kind in sorted({instance_type(settings, machine) for machine in lab.machines}):
        cloud.may_run_instances(image, kind)
    return []


async def _existing(cloud: Cloud, lab: LabSpec, names: Sequence[str] | None) -> dict[str, Instance]:
    found = await _blocking(cloud.instances)
    chosen = lab.chosen(names)
    for machine in chosen:
        if machine.name not in found:
            raise ProviderError(
                f'machine "{machine.name}" does not exist', "make it with `muster up`"
            )
    return {machine.name: found[machine.name] for machine in chosen}


def _target(lab: LabSpec, instance: Instance) -> SshTarget:
    identity = read_identity(_identity(lab, instance.machine))
    if identity is None:
        raise ProviderError(
            f'the SSH host key of machine "{instance.machine}" is not on this host',
            "use the host that made the lab, or make the lab anew",
        )
    if instance.public_address is None:
        raise ProviderError(f'machine "{instance.machine}" has no public address', "start it")
    user = parse_settings(lab.options).user
    host_key = identity.host_key_public
    return SshTarget(instance.public_address, 22, user, lab.ssh_private_key, host_key)


def _identity(lab: LabSpec, name: str) -> Path:
    return lab.state_dir / "ec2" / name


async def _destroy(lab: LabSpec, cloud: Cloud, progress: Progress) -> None:
    found = await _blocking(cloud.instances)
    if found:
        await _blocking(cloud.terminate, [i.id for i in found.values()])
        for name in found:
            progress(name, "terminated")
    await _blocking(cloud.delete_network)
    shutil.rmtree(lab.state_dir / "ec2", ignore_errors=True)


async def _roll_back(lab: LabSpec, cloud: Cloud, before: set[str], *, whole: bool) -> None:
    if whole:
        await _destroy(lab, cloud, silent)
        return
    found = await _blocking(cloud.instances)
    made = {name: i for name, i in found.items() if name not in before}
    if made:
        await _blocking(cloud.terminate, [i.id for i in made.values()])
    for name in made:
        shutil.rmtree(_identity(lab, name), ignore_errors=True)
