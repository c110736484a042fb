"""Where a lab's machines live on the host's disk, and the lock on them.

    <state_dir>/provider.lock             held by the command that changes the lab
    <state_dir>/machines/lab.json         which subnet the lab has taken
    <state_dir>/machines/<m>/identity/    host key, machine-id
    <state_dir>/machines/<m>/disk/        the disk, or where disk.img is mounted (inside only)
    <state_dir>/machines/<m>/disk.img     only when the lab file limits the disk
    <state_dir>/machines/<m>/process.json which process is its PID 1

The lab's state directory also holds what others put there; `destroy` takes only these away.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from provision.providers.base import LabBusy, LabSpec, ProviderError

_LOCK_WAIT_SECONDS = 10.0


class LabPaths:
    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.lock = state_dir / "provider.lock"
        self.machines = state_dir / "machines"
        self.lab = self.machines / "lab.json"

    def machine(self, name: str) -> MachinePaths:
        return MachinePaths(self.machines / name)

    def names(self) -> set[str]:
        """The machines that have a directory, whole or not."""
        if not self.machines.is_dir():
            return set()
        return {entry.name for entry in self.machines.iterdir() if entry.is_dir()}

    def claim_is_new(self) -> bool:
        return not self.lab.exists()

    def claim(self, lab: LabSpec) -> None:
        """Write down which subnet the lab has, for labs made while this one is stopped."""
        self.machines.mkdir(parents=True, exist_ok=True)
        self.lab.write_text(json.dumps({"name": lab.name, "subnet": lab.network.subnet}) + "\n")

    def remove(self) -> None:
        """Remove all that this provider keeps; the directory itself only when it is empty."""
        if self.machines.exists():
            shutil.rmtree(self.machines)
        self.lock.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.state_dir.rmdir()


class MachinePaths:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.identity = directory / "identity"
        self.disk = directory / "disk"
        self.image = directory / "disk.img"
        self.process = directory / "process.json"
        self.launch = directory / "launch.json"
        self.init_log = self.disk / "root/var/log/init.log"

    @property
    def exists(self) -> bool:
        return (self.identity / "machine-id").exists()


def claimed_subnet(state_dir: Path) -> str | None:
    """The subnet of the lab in `state_dir`, if there is a lab of this provider."""
    try:
        claim: dict[str, str] = json.loads(LabPaths(state_dir).lab.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return claim.get("subnet")


@contextlib.asynccontextmanager
async def locked(lab: LabSpec) -> AsyncIterator[None]:
    """Hold the lab for one command. Others wait for a moment, then are told to come back."""
    if os.geteuid() != 0:
        raise ProviderError(f'changing lab "{lab.name}" needs root', "run the command as root")
    made = not lab.state_dir.exists()
    path = LabPaths(lab.state_dir).lock
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
    deadline = asyncio.get_running_loop().time() + _LOCK_WAIT_SECONDS
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        await asyncio.sleep(0.05)


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
