"""The probes. One file each; this list names them, and makes the `probes` of a document of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from drills.events import ProbeSeen, Seen
from drills.lab import DrillLab
from drills.probes.base import Probe
from drills.probes.command import Command
from drills.probes.condition import Condition
from drills.probes.dns import Dns
from drills.probes.http import Http
from drills.probes.promql import Promql
from drills.probes.tcp import Tcp
from provision.errors import ProvisionError

AGAIN_SECONDS = 0.25
AnyProbe = Http | Tcp | Dns | Command | Condition | Promql


async def look(probe: Probe, lab: DrillLab) -> ProbeSeen:
    """Ask once; whatever goes wrong is an answer too."""
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            why = await probe.ask(lab)
    except TimeoutError:
        why = f"no answer within {probe.timeout_seconds:g} s"
    except (OSError, ProvisionError) as error:
        why = str(error) or type(error).__name__
    return ProbeSeen(time.time(), probe.name, not why, why)


async def keep_looking(probe: Probe, lab: DrillLab, seen: Seen) -> None:
    """Until cancelled."""
    while True:
        seen.note(await look(probe, lab))
        await asyncio.sleep(probe.interval_seconds)


async def unsteady(probes: Sequence[Probe], lab: DrillLab, timeout: float) -> str:
    """Wait until each of them holds; after `timeout` what does not, "" when all do."""
    deadline = asyncio.get_running_loop().time() + timeout
    for probe in probes:
        while not (seen := await look(probe, lab)).ok:
            if asyncio.get_running_loop().time() > deadline:
                return f'the probe "{probe.name}" does not hold: {seen.why}'
            await asyncio.sleep(AGAIN_SECONDS)
    return ""


__all__ = ["AnyProbe", "Probe", "keep_looking", "look", "unsteady"]
