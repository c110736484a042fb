"""The running lab as a drill sees it: how to break it, how to reach its machines and its API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from drills.errors import FaultFailed, NothingRan
from kube.client.client import Client
from kube.component.tls import TlsFiles
from kube.machinery.errors import ServiceUnavailable
from provision.errors import MachineUnreachable
from provision.monitoring import server
from provision.providers import provider
from provision.providers.base import Disks, Fabric, LabSpec, Provider
from provision.ssh.client import Connection, over_ssh
from provision.state import Store, lab_spec

COMMAND_SECONDS = 60.0
API_SECONDS = 30.0
T = TypeVar("T")


class Unanswered(FaultFailed):
    """A command on a machine failed; the message carries its last words."""


@dataclass(frozen=True, slots=True)
class DrillLab:
    spec: LabSpec
    provider: Provider
    api_servers: tuple[str, ...]  # gRPC Resources, host:port
    admin_kubeconfig: Path
    monitoring: TlsFiles
    profile: str  # name of the timers
    prometheus: str = ""  # where the lab's own answers; none runs: ""

    def address(self, machine: str) -> str:
        return self.spec.machine(machine).address

    def masters(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.spec.machines if m.role == "master")

    @property
    def pki(self) -> Path:
        """The lab's certificates and their authorities, on this host."""
        return self.monitoring.ca.parent

    @property
    def store_monitoring(self) -> TlsFiles:
        """For the store's metrics: its certificates are of an authority of its own."""
        pki = self.pki / "etcd"
        return TlsFiles(pki / "monitoring.crt", pki / "monitoring.key", pki / "ca.crt")

    @property
    def fabric(self) -> Fabric:
        """The lab's network. Raises NothingRan where the provider has no hand in it."""
        if self.provider.fabric is None:
            raise NothingRan(
                f"the network of {self.provider.name} machines cannot be broken from outside",
                "docs/drills.md says which faults each provider has",
            )
        return self.provider.fabric

    @property
    def disks(self) -> Disks:
        """The machines' disks. Raises NothingRan where the provider has no hand in them."""
        if self.provider.disks is None:
            raise NothingRan(
                f"the disks of {self.provider.name} machines cannot be slowed down from outside",
                "docs/drills.md says which faults each provider has",
            )
        return self.provider.disks

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with Client.connect(self.api_servers, self.admin_kubeconfig) as client:
            yield client

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answer of an API call that may be made again, once an api-server answers: a fault is
        not to fail because the API is slow, or is another fault's victim for a moment."""
        deadline = asyncio.get_running_loop().time() + API_SECONDS
        while True:
            try:
                return await call()
            except ServiceUnavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def run_on(
        self, machine: str, command: Sequence[str], timeout: float = COMMAND_SECONDS
    ) -> str:
        """Run a command on a machine as root; its output. Raises Unanswered when it fails."""
        target = await self.provider.ssh_target(self.spec, machine)

        def work(connection: Connection) -> tuple[int, str]:
            done = connection.run(list(command), timeout=timeout)
            return done.status, (done.text + done.stderr.decode(errors="replace")).strip()

        try:
            status, text = await over_ssh(target, machine, work)
        except MachineUnreachable as error:
            raise Unanswered(error.message, error.hint) from error
        if status:
            words = text.splitlines()[-1] if text else f"exit status {status}"
            raise Unanswered(f'{machine}: "{" ".join(command)[:80]}": {words}')
        return text


def running_lab(name: str) -> DrillLab:
    """The lab `name`, as drills see it. Raises LabNotFound."""
    store = Store()
    record = store.get(name)
    directory = store.directory(name)
    masters = [m for m in record.machines if m.role == "master"]
    watching = server.find(directory)
    return DrillLab(
        spec=lab_spec(record, directory),
        provider=provider(record.lab.spec.provider),
        api_servers=tuple(f"{m.address}:6444" for m in masters),
        admin_kubeconfig=directory.kubeconfig,
        monitoring=TlsFiles(
            directory.pki / "monitoring.crt", directory.pki / "monitoring.key",
            directory.pki / "ca.crt",
        ),
        profile=record.lab.spec.timers,
        prometheus=watching.url if watching else "",
    )  # fmt: skip
