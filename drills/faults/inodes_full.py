"""All inodes of the machine's disk are taken: there is space, and no file can be made."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults import hogs
from drills.faults.base import Needs, Scene
from drills.faults.own_disk import FOLDER, OwnDiskFault
from drills.undo import AnyStep, RunOn

# Empty files in folders of 10,000. It runs as a unit: taking a million of them lasts a while, and
# the undo has to end it before it removes them.
TAKE = (
    "import os, sys\n"
    "top, left = sys.argv[1], int(sys.argv[2])\n"
    "os.mkdir(top)\n"
    "n = os.statvfs(top).f_favail - left\n"
    "try:\n"
    "    for i in range(n):\n"
    "        if i % 10000 == 0:\n"
    "            os.mkdir(f'{top}/{i}')\n"
    "            folder = os.open(f'{top}/{i}', os.O_RDONLY)\n"
    "        os.mknod(str(i), dir_fd=folder)\n"
    "except OSError:\n"
    "    pass\n"  # somebody else took the last one
)
FREE = f'{hogs.STOP}; rm -rf "$2"'


class InodesFull(OwnDiskFault, frozen=True, kw_only=True, tag="inodes-full"):
    """No inode is left: there is space, and no file can be made."""

    title: ClassVar[str] = "inodes full"
    needs: ClassVar[Needs] = Needs(tools=("systemd-run", "python3"))

    leave: Annotated[int, Meta(ge=0, description="So many are left free.")] = 0

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        free = ("sh", "-c", FREE, "sh", hogs.unit(scene), _folder(scene))
        return tuple(RunOn(name, free, "inodes freed") for name in scene.victims)

    async def inject(self, scene: Scene) -> None:
        await hogs.start(
            scene, ["python3", "-S", "-c", TAKE, _folder(scene), str(self.leave)],
        )  # fmt: skip


def _folder(scene: Scene) -> str:
    return f"{FOLDER}/muster-drill-{scene.key}"
