"""Faults of a machine's disk: how many writes a second it does, by the machine's cgroups.

Version 2 holds the machine and all below it to one limit (`io.max`). Version 1 knows no limit of a
whole tree (`blkio.throttle.*`): there each cgroup that the machine has now gets it, and one that is
made later has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from provision.providers.base import LabSpec, ProviderError
from provision.providers.local import cgroupfs
from provision.providers.local.disk import loop_device
from provision.providers.local.state import LabPaths


class LocalDisks:
    """The disk images of local machines."""

    async def slow(self, lab: LabSpec, names: Sequence[str], writes_per_second: int) -> None:
        for machine in lab.chosen(names):
            device = _device(lab, machine.name)
            if device is None:
                raise ProviderError(f'machine "{machine.name}" has no disk of its own, or is off')
            for file, line in _lines(lab.name, machine.name, device, writes_per_second):
                file.write_text(line)

    async def unslow(self, lab: LabSpec, names: Sequence[str]) -> None:
        for machine in lab.chosen(names):
            # Of a machine that is off neither the device nor the cgroups are left.
            if (device := _device(lab, machine.name)) is not None:
                for file, line in _lines(lab.name, machine.name, device, None):
                    file.write_text(line)


def _device(lab: LabSpec, machine: str) -> str | None:
    """The numbers of the machine's disk, `major:minor`."""
    image = LabPaths(lab.state_dir).machine(machine).image
    name = loop_device(image) if image.exists() else None
    return Path("/sys/block", name, "dev").read_text().strip() if name else None


def _lines(lab: str, machine: str, device: str, limit: int | None) -> Iterator[tuple[Path, str]]:
    layout = cgroupfs.host_layout()
    version2 = layout.carrying("io")
    version1 = layout.carrying("blkio")
    if version2 is not None:
        value = "max" if limit is None else limit
        yield version2.machine(lab, machine) / "io.max", f"{device} wiops={value}"
    elif version1 is not None:
        for directory in cgroupfs.tree(version1.machine(lab, machine)):
            yield directory / "blkio.throttle.write_iops_device", f"{device} {limit or 0}"
    else:
        raise ProviderError(
            "this host's cgroups do not limit disks", "boot it with the io (or blkio) controller"
        )
