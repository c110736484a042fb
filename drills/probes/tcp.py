"""A port that must accept connections."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta

from drills.base import Port
from drills.lab import DrillLab
from drills.probes.base import Probe


class Tcp(Probe, frozen=True, kw_only=True, tag="tcp"):
    """A port that must accept connections."""

    host: Annotated[str, Meta(min_length=1, description="An address, or a machine's name.")]
    port: Port

    async def ask(self, lab: DrillLab) -> str:
        machines = {m.name: m.address for m in lab.spec.machines}
        _, writer = await asyncio.open_connection(machines.get(self.host, self.host), self.port)
        writer.close()
        return ""
