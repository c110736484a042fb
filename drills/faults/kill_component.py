"""SIGKILL for a process of the lab; systemd starts it again."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.faults.components import Component, unit
from drills.undo import AnyStep, RunOn


class KillComponent(Fault, frozen=True, kw_only=True, tag="kill-component"):
    """SIGKILL for a process of the lab; systemd starts it again."""

    title: ClassVar[str] = "SIGKILL"
    instant: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(tools=("systemctl",))

    component: Component

    def words(self, scene: Scene) -> str:
        return f"{self.title} for {self.component} on {', '.join(scene.victims)}"

    def components(self) -> tuple[str, ...]:
        return (self.component,)

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        start = ("systemctl", "start", "--no-block", unit(self.component))
        return tuple(RunOn(name, start, f"started {self.component}") for name in scene.victims)

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            await scene.lab.run_on(
                name, ["systemctl", "kill", "--signal=SIGKILL", unit(self.component)]
            )
