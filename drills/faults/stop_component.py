"""A process of the lab is stopped, and stays so until the end of the fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from drills.faults.base import Fault, HitPod, Needs, Scene
from drills.faults.components import Component, unit
from drills.undo import AnyStep, RunOn


class StopComponent(Fault, frozen=True, kw_only=True, tag="stop-component"):
    """A process of the lab is stopped, and stays so until the end of the fault."""

    title: ClassVar[str] = "stop"
    needs: ClassVar[Needs] = Needs(tools=("systemctl",))

    component: Component

    def words(self, scene: Scene) -> str:
        return f"{self.title} of {self.component} on {', '.join(scene.victims)}"

    def hits(self, on_victims: Sequence[HitPod]) -> tuple[HitPod, ...]:
        # A node whose kubelet says nothing counts as dead, and its pods with it.
        return tuple(on_victims) if self.component == "kubelet" else ()

    def components(self) -> tuple[str, ...]:
        return (self.component,)

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        start = ("systemctl", "start", "--no-block", unit(self.component))
        return tuple(RunOn(name, start, f"started {self.component}") for name in scene.victims)

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            await scene.lab.run_on(name, ["systemctl", "stop", unit(self.component)])
