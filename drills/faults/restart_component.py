"""A process of the lab is stopped in order and started again, as an upgrade does it."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.faults.components import Component, unit
from drills.undo import AnyStep, RunOn


class RestartComponent(Fault, frozen=True, kw_only=True, tag="restart-component"):
    """A process of the lab is stopped in order and started again, as an upgrade does it."""

    title: ClassVar[str] = "restart"
    instant: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(tools=("systemctl",))

    component: Component

    def words(self, scene: Scene) -> str:
        return f"{self.title} of {self.component} on {', '.join(scene.victims)}"

    def components(self) -> tuple[str, ...]:
        return (self.component,)

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        # A restart that was cut off may have stopped it.
        start = ("systemctl", "start", "--no-block", unit(self.component))
        return tuple(RunOn(name, start, f"started {self.component}") for name in scene.victims)

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            await scene.lab.run_on(
                name, ["systemctl", "restart", "--no-block", unit(self.component)]
            )
