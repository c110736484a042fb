"""What every phase works on: one lab, its directory, its provider."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from provision.identities import LabRecord
from provision.providers import provider
from provision.providers.base import LabSpec, MachineState, Provider, SshTarget
from provision.state import LabDir, Store, lab_spec


@dataclass(frozen=True)
class Session:
    """One lab and the way to it."""

    store: Store
    record: LabRecord

    @property
    def directory(self) -> LabDir:
        return self.store.directory(self.record.name)

    @cached_property
    def provider(self) -> Provider:
        return provider(self.record.lab.spec.provider)

    @cached_property
    def spec(self) -> LabSpec:
        return lab_spec(self.record, self.directory)

    async def states(self) -> dict[str, MachineState]:
        return await self.provider.states(self.spec)

    async def running(self) -> list[str]:
        states = await self.states()
        return [m.name for m in self.record.machines if states.get(m.name) == MachineState.RUNNING]

    async def target(self, name: str) -> SshTarget:
        return await self.provider.ssh_target(self.spec, name)

    async def targets(self) -> dict[str, SshTarget]:
        return {m.name: await self.target(m.name) for m in self.record.machines}


def open_session(store: Store, name: str) -> Session:
    """The session of a lab that exists."""
    return Session(store, store.get(name))
