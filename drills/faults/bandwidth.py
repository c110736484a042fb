"""A thin line: a machine sends and receives no more than so much a second."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, Unshape


class Bandwidth(Fault, frozen=True, kw_only=True, tag="bandwidth"):
    """A thin line: a machine sends and receives no more than so much a second."""

    title: ClassVar[str] = "bandwidth cut"
    needs: ClassVar[Needs] = Needs(fabric=True)

    kbit: Annotated[int, Meta(ge=64, description="In each direction.")] = 1000

    def words(self, scene: Scene) -> str:
        return f"{self.title} to {self.kbit} kbit/s: {', '.join(scene.victims)}"

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (Unshape(scene.victims),)

    async def inject(self, scene: Scene) -> None:
        await scene.lab.fabric.shape(scene.lab.spec, scene.victims, self.kbit)
