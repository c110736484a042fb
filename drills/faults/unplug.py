"""The network cable is pulled: the machine works on, alone. With `repeat` it is a flapping link."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, Plug


class Unplug(Fault, frozen=True, kw_only=True, tag="unplug"):
    """The network cable is pulled: the machine works on, alone. `repeat` makes the link flap."""

    title: ClassVar[str] = "cable pulled"
    needs: ClassVar[Needs] = Needs(fabric=True)
    takes_machines: ClassVar[bool] = True
    takes_pods: ClassVar[bool] = True

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (Plug(scene.victims),)

    async def inject(self, scene: Scene) -> None:
        await scene.lab.fabric.unplug(scene.lab.spec, scene.victims)
