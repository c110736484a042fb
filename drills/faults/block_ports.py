"""A firewall that somebody set up wrong: ports of the victims swallow what is sent to them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.base import Port
from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, PassAgain
from provision.providers.base import Drop


class BlockPorts(Fault, frozen=True, kw_only=True, tag="block-ports"):
    """A firewall that somebody set up wrong: ports of the victims swallow what is sent to them."""

    title: ClassVar[str] = "ports blocked"
    needs: ClassVar[Needs] = Needs(fabric=True)

    ports: Annotated[
        tuple[Port, ...], Meta(min_length=1, max_length=32, description="6443, 2380, 10250, ...")
    ]

    def words(self, scene: Scene) -> str:
        return f"{self.title} of {', '.join(scene.victims)}: {', '.join(map(str, self.ports))}"

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (PassAgain(scene.key, self.words(scene)),)

    async def inject(self, scene: Scene) -> None:
        drops = [Drop(destination=v, port=p) for v in scene.victims for p in self.ports]
        await scene.lab.fabric.lose(scene.lab.spec, scene.key, drops)
