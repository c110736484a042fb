"""The processes of the lab, by the names of their units, and what the faults of one share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from drills.faults.base import Fault, HitPod, Needs, Scene
from drills.undo import AnyStep, RunOn

Component = Annotated[
    Literal[
        "kvstore", "apiserver", "scheduler", "controller-manager", "runtime", "kubelet", "proxy",
        "network",
    ],
    Meta(description="Which process; its unit is muster-<component>."),
]  # fmt: skip


def unit(component: str) -> str:
    return f"muster-{component}.service"


class ComponentFault(Fault, frozen=True, kw_only=True):
    """A fault of one process on each victim. Its undo starts the process, if it does not run."""

    needs: ClassVar[Needs] = Needs(tools=("systemctl",))
    act: ClassVar[tuple[str, ...]] = ()  # what is told to systemctl, before the unit

    component: Component

    def words(self, scene: Scene) -> str:
        return f"{self.title} of {self.component} on {', '.join(scene.victims)}"

    def components(self) -> tuple[str, ...]:
        return (self.component,)

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        start = ("systemctl", "start", "--no-block", unit(self.component))
        return tuple(RunOn(name, start, f"started {self.component}") for name in scene.victims)

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            await scene.lab.run_on(name, ["systemctl", *self.act, unit(self.component)])


class SilentComponent(ComponentFault, frozen=True, kw_only=True):
    """A process that does nothing while the fault lasts."""

    def hits(self, on_victims: Sequence[HitPod]) -> tuple[HitPod, ...]:
        # A node whose kubelet says nothing counts as dead, and its pods with it.
        return tuple(on_victims) if self.component == "kubelet" else ()
