"""One command at a time for each lab: a lock file in the lab's state directory (flock(2))."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

from provision.providers.base import LabBusy, LabSpec, ProviderError

_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.05


def lock_file(state_dir: Path) -> Path:
    return state_dir / "provider.lock"


@contextlib.asynccontextmanager
async def locked(lab: LabSpec) -> AsyncIterator[None]:
    """Hold the lab for one command. Others wait for a moment, then are told to come back."""
    made = not lab.state_dir.exists()
    path = lock_file(lab.state_dir)
    descriptor = await _acquire(lab.name, path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if made and list(lab.state_dir.iterdir()) == [path]:
                # Nothing came of it: leave no directory behind for a lab that never was.
                path.unlink()
                lab.state_dir.rmdir()
        os.close(descriptor)


async def _acquire(lab: str, path: Path) -> int:
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ProviderError(f'cannot lock lab "{lab}": {error}', "run as root") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            if _is_current(descriptor, path):
                return descriptor
            os.close(descriptor)  # the holder before us has destroyed the lab, lock and all
            continue
        if asyncio.get_running_loop().time() > deadline:
            raise LabBusy(
                f'lab "{lab}" is being changed by another command', "wait until it has ended"
            )
        await asyncio.sleep(_POLL_SECONDS)


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
