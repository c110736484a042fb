"""A machine's disk: a plain directory, or an ext4 image of a fixed size."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from provision.providers.base import MachineSpec, ProviderError
from provision.providers.local.network import run
from provision.providers.local.state import MachinePaths

_DETACH_SECONDS = 60.0  # a busy host writes for long what the machine left unwritten


async def ensure_disk(paths: MachinePaths, machine: MachineSpec) -> None:
    paths.disk.mkdir(parents=True, exist_ok=True)
    if machine.disk_mib is None or paths.image.exists() or paths.disk_in_use:
        return
    draft = paths.image.with_suffix(".new")
    with draft.open("wb") as image:
        os.truncate(image.fileno(), machine.disk_mib * 1024 * 1024)
    # No blocks kept back for root: everybody inside is root, and the size is the promised one.
    # Inode tables are zeros already, as all of a sparse file is (`noinit_itable` at the mount).
    await run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", str(draft))
    draft.rename(paths.image)


async def wait_unmounted(paths: MachinePaths) -> None:
    """Until the dead machine's mount is gone: mounting the image twice would ruin it."""
    if not paths.image.exists():
        return
    deadline = asyncio.get_running_loop().time() + _DETACH_SECONDS
    while device := loop_device(paths.image):
        if asyncio.get_running_loop().time() > deadline:
            raise ProviderError(f"{paths.image} is still mounted through {device}")
        await asyncio.sleep(0.01)


def loop_device(image: Path) -> str | None:
    """The loop device behind which `image` is, from sysfs (losetup reads the same)."""
    wanted = str(image.resolve())
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if entry.read_text().strip() == wanted:
                return entry.parent.parent.name
        except OSError:
            continue  # it was just detached
    return None
