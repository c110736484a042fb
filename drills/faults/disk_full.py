"""The machine's disk is filled up to the last block."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Needs, Scene
from drills.faults.own_disk import FOLDER, OwnDiskFault
from drills.undo import AnyStep, RunOn

# All that is free for root, less what is to be left.
FILL = (
    "free=$(($(stat -f -c '%a * %S' \"$1\") / 1048576 - $3)); "
    '[ "$free" -le 0 ] || fallocate -l "${free}MiB" "$1/$2"'
)


class DiskFull(OwnDiskFault, frozen=True, kw_only=True, tag="disk-full"):
    """The machine's disk is filled up. Only machines with a disk of their own have one to fill."""

    title: ClassVar[str] = "disk full"
    needs: ClassVar[Needs] = Needs(tools=("fallocate",))

    leave_mebibytes: Annotated[int, Meta(ge=0, description="So much is left free.")] = 0

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        filler = f"{FOLDER}/muster-drill-{scene.key}"
        return tuple(RunOn(n, ("rm", "-f", filler), "disk freed") for n in scene.victims)

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            await scene.lab.run_on(
                name,
                ["sh", "-c", FILL, "sh", FOLDER, f"muster-drill-{scene.key}",
                 str(self.leave_mebibytes)],
            )  # fmt: skip
