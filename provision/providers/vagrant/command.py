"""Runs vagrant, never without a time limit: its `halt` has been seen to hang for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provision.providers.base import Progress, silent
from provision.providers.vagrant.output import explain, parse_step

_LIMIT = 1 << 20  # one line; a box's upload redraws its percentage without ever ending the line
_GRACE_SECONDS = 20.0


class TimedOut(Exception):
    """A vagrant command had to be killed."""


@dataclass(frozen=True)
class Vagrant:
    """Vagrant on one lab: where its Vagrantfile is, where it keeps notes, what it shall read."""

    vagrantfile: Path
    notes: Path
    description: Path
    backend: str
    environment: Mapping[str, str] = field(default_factory=dict)

    async def run(self, *arguments: str, seconds: float, progress: Progress = silent) -> str:
        """The output of `vagrant ARGUMENTS`. Raises `ProviderError`, or `TimedOut`."""
        process = await asyncio.create_subprocess_exec(
            "vagrant",
            *arguments,
            cwd=self.vagrantfile.parent,
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=_LIMIT,
        )
        try:
            async with asyncio.timeout(seconds):
                output = await _follow(process, progress)
        except TimeoutError:
            raise TimedOut(f"vagrant {' '.join(arguments)}: no end after {seconds:.0f} s") from None
        finally:
            await _end(process)
        if process.returncode:
            raise explain(" ".join(arguments), output)
        return output

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.environment,
            "VAGRANT_CWD": str(self.vagrantfile.parent),
            "VAGRANT_VAGRANTFILE": self.vagrantfile.name,
            "VAGRANT_DOTFILE_PATH": str(self.notes),
            "VAGRANT_DEFAULT_PROVIDER": self.backend,
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
            "MUSTER_LAB": str(self.description),
        }


async def _follow(process: asyncio.subprocess.Process, progress: Progress) -> str:
    assert process.stdout is not None
    lines = []
    async for raw in process.stdout:
        line = raw.decode(errors="replace").rstrip("\n")
        lines.append(line)
        step = parse_step(line)
        if step is not None:
            progress(*step)
    await process.wait()
    return "\n".join(lines)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End vagrant and what it started. It is the leader of a session of its own."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
            return
