"""Where a lab's machines live on the host's disk.

    <state_dir>/provider.lock             held by the command that changes the lab
    <state_dir>/machines/lab.json         which subnet the lab has taken
    <state_dir>/machines/<m>/identity/    host key, machine-id
    <state_dir>/machines/<m>/disk/        the disk, or where disk.img is mounted (inside only)
    <state_dir>/machines/<m>/disk.img     only when the lab file limits the disk
    <state_dir>/machines/<m>/process.json which process is its PID 1

The lab's state directory also holds what others put there; `destroy` takes only these away.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from provision.providers.base import LabSpec
from provision.providers.lock import lock_file


class LabPaths:
    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.lock = lock_file(state_dir)
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
        self.machines.chmod(0o700)  # set-uid programs in there are not for this host's users
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
        self.wire = directory / "slow-wire.json"
        self.wire_process = directory / "slow-wire-process.json"
        self.wire_errors = directory / "slow-wire-errors"
        self.init_log = self.disk / "root/var/log/init.log"

    @property
    def exists(self) -> bool:
        return (self.identity / "machine-id").exists()

    @property
    def disk_in_use(self) -> bool:
        """Whether the machine lives in the directory itself, without an image."""
        return (self.disk / "root").exists()


def claimed_subnet(state_dir: Path) -> str | None:
    """The subnet of the lab in `state_dir`, if there is a lab of this provider."""
    try:
        claim: dict[str, str] = json.loads(LabPaths(state_dir).lab.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return claim.get("subnet")
