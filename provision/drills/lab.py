"""The running lab as a drill sees it: how to break it, and how to watch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.component.tls import TlsFiles
from provision.drills.journal import pending
from provision.providers.base import LabSpec, Provider


@dataclass(frozen=True, slots=True)
class DrillLab:
    spec: LabSpec
    provider: Provider
    api_servers: tuple[str, ...]  # gRPC Resources, host:port
    admin_kubeconfig: Path
    monitoring: TlsFiles
    profile: str  # name of the timers

    def address(self, machine: str) -> str:
        return self.spec.machine(machine).address


async def heal(lab: DrillLab) -> Sequence[str]:
    """Undo what drills have left behind; the machines that were switched on again."""
    healed: list[str] = []
    for journal, undo in pending(lab.spec.state_dir):
        await lab.provider.start(lab.spec, undo.power_on)
        journal.clear()
        healed.extend(undo.power_on)
    return healed
