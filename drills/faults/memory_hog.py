"""A process that takes a share of the machine's memory, and keeps it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.base import Percent
from drills.faults import hogs
from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep

# Every page is written to, or the kernel would hand out none of it.
TAKE = (
    "import sys, time\n"
    "kept = [bytearray(b'x' * (1 << 20)) for _ in range(int(sys.argv[1]))]\n"
    "time.sleep(86400)\n"
)


class MemoryHog(Fault, frozen=True, kw_only=True, tag="memory-hog"):
    """A process that takes a share of the machine's memory. When it is too much, who is killed?"""

    title: ClassVar[str] = "memory hog"
    needs: ClassVar[Needs] = Needs(tools=("systemd-run", "python3"))

    percent: Annotated[Percent, Meta(description="Of the machine's memory.")] = 50

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return hogs.stop(scene, "memory hog")

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            mebibytes = int(scene.lab.spec.machine(name).memory_mib * self.percent / 100)
            one = Scene(scene.lab, scene.key, (name,))
            # When memory runs out it is the first to go: the fault must not kill the machine.
            await hogs.start(
                one, ["python3", "-S", "-c", TAKE, str(mebibytes)], "OOMScoreAdjust=1000"
            )
