"""SIGSTOP for a process of the lab: it is there, its ports are open, and it does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from drills.faults.base import Fault, HitPod, Needs, Scene
from drills.faults.components import Component, unit
from drills.undo import AnyStep, RunOn


class HangComponent(Fault, frozen=True, kw_only=True, tag="hang-component"):
    """SIGSTOP for a process: its ports are open, and it does nothing. systemd's watchdog (30 s)
    is what ends that in the end."""

    title: ClassVar[str] = "hang"
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
        # By then the watchdog may have killed it, and systemd may be about to start it anew.
        go_on = (
            "sh", "-c",
            'systemctl kill --signal=SIGCONT "$1" 2>/dev/null; systemctl start --no-block "$1"',
            "sh", unit(self.component),
        )  # fmt: skip
        return tuple(RunOn(n, go_on, f"{self.component} goes on") for n in scene.victims)

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            await scene.lab.run_on(
                name, ["systemctl", "kill", "--signal=SIGSTOP", unit(self.component)]
            )
