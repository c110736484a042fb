"""Processes that do nothing but turn in circles, as many as asked for."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults import hogs
from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep

SPIN = 'i=0; while [ $i -lt "$1" ]; do (while :; do :; done) & i=$((i+1)); done; wait'


class CpuHog(Fault, frozen=True, kw_only=True, tag="cpu-hog"):
    """Processes that do nothing but turn in circles. What is starved, and what is not?"""

    title: ClassVar[str] = "CPU hog"
    needs: ClassVar[Needs] = Needs(tools=("systemd-run",))

    workers: Annotated[int, Meta(ge=1, le=256, description="How many processes.")] = 4

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return hogs.stop(scene, "CPU hog")

    async def inject(self, scene: Scene) -> None:
        await hogs.start(scene, ["sh", "-c", SPIN, "sh", str(self.workers)])
