"""Down and at once up again: shut down in order, or as when somebody presses reset."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, PowerOn


class Reboot(Fault, frozen=True, kw_only=True, tag="reboot"):
    """Down and at once up again."""

    title: ClassVar[str] = "reboot"
    instant: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(verbs=("stop", "power_off", "start"))
    takes_machines: ClassVar[bool] = True
    takes_pods: ClassVar[bool] = True

    hard: Annotated[bool, Meta(description="As by the reset button, without a shutdown.")] = False

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (PowerOn(scene.victims),)

    async def inject(self, scene: Scene) -> None:
        lab = scene.lab
        down = lab.provider.power_off if self.hard else lab.provider.stop
        await down(lab.spec, scene.victims)
        await lab.provider.start(lab.spec, scene.victims)
