"""A worn-out disk: every write waits, and fsync, which needs several, waits longest."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Needs, Scene
from drills.faults.own_disk import OwnDiskFault
from drills.undo import AnyStep, Unslow


class SlowDisk(OwnDiskFault, frozen=True, kw_only=True, tag="slow-disk"):
    """A machine's disk does only so many writes a second. What waits for fsync waits longest."""

    title: ClassVar[str] = "slow disk"
    needs: ClassVar[Needs] = Needs(disks=True)

    writes_per_second: Annotated[int, Meta(ge=1, description="More have to wait.")] = 20

    def words(self, scene: Scene) -> str:
        return f"{self.title}, {self.writes_per_second} writes/s: {', '.join(scene.victims)}"

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (Unslow(scene.victims),)

    async def inject(self, scene: Scene) -> None:
        await scene.lab.disks.slow(scene.lab.spec, scene.victims, self.writes_per_second)
