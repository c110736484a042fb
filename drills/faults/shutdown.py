"""An orderly shutdown: every service is stopped and may say goodbye."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, PowerOn


class Shutdown(Fault, frozen=True, kw_only=True, tag="shutdown"):
    """An orderly shutdown: every service is stopped and may say goodbye."""

    title: ClassVar[str] = "shutdown"
    needs: ClassVar[Needs] = Needs(verbs=("stop", "start"))
    takes_machines: ClassVar[bool] = True
    takes_pods: ClassVar[bool] = True

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (PowerOn(scene.victims),)

    async def inject(self, scene: Scene) -> None:
        await scene.lab.provider.stop(scene.lab.spec, scene.victims)
