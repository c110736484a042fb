"""Waits for a machine: for its sshd to answer, for its PID 1 to end."""

from __future__ import annotations

import asyncio
import os

from provision.providers.base import MachineSpec, ProviderError
from provision.providers.local import processes
from provision.providers.local.state import MachinePaths
from provision.providers.ssh import greets

_BOOT_SECONDS = 90.0
_POLL_SECONDS = 0.02


async def wait_for_sshd(machine: MachineSpec, paths: MachinePaths) -> None:
    """Until port 22 greets with its version (RFC 4253, section 4.2)."""
    deadline = asyncio.get_running_loop().time() + _BOOT_SECONDS
    while not await greets(machine.address):
        if not processes.is_alive(processes.read_record(paths.process)):
            raise ProviderError(f'machine "{machine.name}" died while booting{_last_words(paths)}')
        if asyncio.get_running_loop().time() > deadline:
            raise ProviderError(
                f'machine "{machine.name}" does not answer on {machine.address}:22 '
                f"after {_BOOT_SECONDS:.0f} s{_last_words(paths)}"
            )
        await asyncio.sleep(_POLL_SECONDS)


def _last_words(paths: MachinePaths) -> str:
    try:
        text = paths.init_log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return ": " + " | ".join(text.strip().splitlines()[-3:]) if text.strip() else ""


async def wait_ended(handle: int, seconds: float) -> bool:
    """Whether the process behind the pidfd ends within `seconds`. Closes the handle."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    # A pidfd becomes readable when its process ends (pidfd_open(2)).
    loop.add_reader(handle, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), seconds)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return True
