"""The machine's disk is filled up to the last block."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.errors import NothingRan
from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, RunOn
from provision.providers import declared

FOLDER = "/var/lib"
# All that is free for root, less what is to be left.
FILL = (
    "free=$(($(stat -f -c '%a * %S' \"$1\") / 1048576 - $3)); "
    '[ "$free" -le 0 ] || fallocate -l "${free}MiB" "$1/$2"'
)


class DiskFull(Fault, frozen=True, kw_only=True, tag="disk-full"):
    """The machine's disk is filled up. Only machines with a disk of their own have one to fill."""

    title: ClassVar[str] = "disk full"
    needs: ClassVar[Needs] = Needs(tools=("fallocate",))

    leave_mebibytes: Annotated[int, Meta(ge=0, description="So much is left free.")] = 0

    def refuse(self, scene: Scene) -> None:
        for name in scene.victims:
            shared = declared(scene.lab.provider.name).on_this_host
            if shared and scene.lab.spec.machine(name).disk_mib is None:
                raise NothingRan(
                    f"{name} has no disk of its own: this host's would be filled",
                    "name a size in the lab file, and not `local: {disk: none}`",
                )

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
