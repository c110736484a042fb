"""A cut through the network: the victims and the others do not hear each other any more."""

from __future__ import annotations

from itertools import product
from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, Needs, Scene, names
from drills.targets import Target
from drills.undo import AnyStep, PassAgain
from provision.providers.base import Drop


class Partition(Fault, frozen=True, kw_only=True, tag="partition"):
    """A cut through the network. This host reaches both sides, so the lab can still be watched."""

    title: ClassVar[str] = "partition"
    needs: ClassVar[Needs] = Needs(fabric=True)
    takes_pods: ClassVar[bool] = True

    other: Annotated[
        Target | None, Meta(description="The other side. Left out: all other machines.")
    ] = None
    one_way: Annotated[
        bool, Meta(description="Only what the victims send is lost; they still hear the others.")
    ] = False

    def words(self, scene: Scene) -> str:
        arrow = "→" if self.one_way else "↔"
        return f"{self.title} {names(scene.victims)} {arrow} {names(scene.others)}"

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (PassAgain(scene.key, self.words(scene)),)

    async def inject(self, scene: Scene) -> None:
        drops = [Drop(a, b) for a, b in product(scene.victims, scene.others)]
        if not self.one_way:
            drops += [Drop(b, a) for a, b in product(scene.victims, scene.others)]
        await scene.lab.fabric.lose(scene.lab.spec, scene.key, drops)
