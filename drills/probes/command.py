"""A command that must end with status 0: on this host, or on a machine of the lab."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

from msgspec import Meta

from drills.lab import DrillLab, Unanswered
from drills.probes.base import Probe


class Command(Probe, frozen=True, kw_only=True, tag="command"):
    """A command, without a shell, that must end with status 0."""

    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    machine: Annotated[str, Meta(description="Where; left out: on this host.")] = ""

    async def ask(self, lab: DrillLab) -> str:
        if self.machine:
            try:
                await lab.run_on(self.machine, self.command, self.timeout_seconds)
            except Unanswered as error:
                return error.message
            return ""
        process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        if process.returncode == 0:
            return ""
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {process.returncode}"
