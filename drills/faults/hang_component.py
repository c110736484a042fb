"""SIGSTOP for a process of the lab: it is there, its ports are open, and it does nothing."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Scene
from drills.faults.components import SilentComponent, unit
from drills.undo import AnyStep, RunOn


class HangComponent(SilentComponent, frozen=True, kw_only=True, tag="hang-component"):
    """SIGSTOP for a process: its ports are open, and it does nothing. systemd's watchdog (30 s)
    is what ends that in the end."""

    title: ClassVar[str] = "hang"
    act: ClassVar[tuple[str, ...]] = ("kill", "--signal=SIGSTOP")

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        # By then the watchdog may have killed it, and systemd may be about to start it anew.
        go_on = (
            "sh", "-c",
            'systemctl kill --signal=SIGCONT "$1" 2>/dev/null; systemctl start --no-block "$1"',
            "sh", unit(self.component),
        )  # fmt: skip
        return tuple(RunOn(n, go_on, f"{self.component} goes on") for n in scene.victims)
