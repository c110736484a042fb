"""Many processes that sleep: the table of processes fills up."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults import hogs
from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep

SLEEP = 'i=0; while [ $i -lt "$1" ]; do sleep 86400 & i=$((i+1)); done; wait'


class PidHog(Fault, frozen=True, kw_only=True, tag="pid-hog"):
    """Many processes that sleep. The number is bounded: local machines share the host's table."""

    title: ClassVar[str] = "pid hog"
    needs: ClassVar[Needs] = Needs(tools=("systemd-run",))

    processes: Annotated[int, Meta(ge=1, le=4000, description="How many.")] = 500

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return hogs.stop(scene, "pid hog")

    async def inject(self, scene: Scene) -> None:
        await hogs.start(scene, ["sh", "-c", SLEEP, "sh", str(self.processes)], "TasksMax=infinity")
