"""The plug is pulled: no goodbye to anybody, and silence on the network at once."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, PowerOn


class PowerOff(Fault, frozen=True, kw_only=True, tag="power-off"):
    """The plug is pulled: no goodbye to anybody, and silence on the network at once."""

    title: ClassVar[str] = "power cut"
    needs: ClassVar[Needs] = Needs(verbs=("power_off", "start"))
    takes_machines: ClassVar[bool] = True
    takes_pods: ClassVar[bool] = True

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (PowerOn(scene.victims),)

    async def inject(self, scene: Scene) -> None:
        await scene.lab.provider.power_off(scene.lab.spec, scene.victims)
