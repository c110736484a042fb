"""A bad cable: some of what a machine sends and receives is lost, by chance."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, PassAgain
from provision.providers.base import Drop


class Loss(Fault, frozen=True, kw_only=True, tag="loss"):
    """A bad cable: some of what a machine sends and receives is lost, by chance."""

    title: ClassVar[str] = "packet loss"
    needs: ClassVar[Needs] = Needs(fabric=True)

    percent: Annotated[int, Meta(ge=1, le=99, description="How much, in each direction.")] = 20

    def words(self, scene: Scene) -> str:
        return f"{self.percent} % {self.title} of {', '.join(scene.victims)}"

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (PassAgain(scene.key, self.words(scene)),)

    async def inject(self, scene: Scene) -> None:
        drops = [Drop(source=name, percent=self.percent) for name in scene.victims]
        drops += [Drop(destination=name, percent=self.percent) for name in scene.victims]
        await scene.lab.fabric.lose(scene.lab.spec, scene.key, drops)
