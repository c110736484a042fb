"""A long way: packets are late, come twice, or overtake each other."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, Undelay
from provision.providers.base import Wire

Percent = Annotated[float, Meta(ge=0, le=100)]


class Latency(Fault, frozen=True, kw_only=True, tag="latency"):
    """A machine's packets are late, in each direction; some come twice or overtake the others."""

    title: ClassVar[str] = "latency"
    needs: ClassVar[Needs] = Needs(fabric=True)

    milliseconds: Annotated[float, Meta(ge=0, le=10_000, description="In each direction.")] = 100
    jitter_milliseconds: Annotated[
        float, Meta(ge=0, le=10_000, description="So much more or less, by chance.")
    ] = 0
    duplicate_percent: Annotated[Percent, Meta(description="So many come twice.")] = 0
    reorder_percent: Annotated[
        Percent, Meta(description="So many do not wait, and overtake those that do.")
    ] = 0

    def words(self, scene: Scene) -> str:
        jitter = f" ± {self.jitter_milliseconds:g}" if self.jitter_milliseconds else ""
        odd = (self.duplicate_percent, "twice"), (self.reorder_percent, "early")
        some = "".join(f", {percent:g} % {how}" for percent, how in odd if percent)
        victims = ", ".join(scene.victims)
        return f"{self.milliseconds:g}{jitter} ms of latency{some}: {victims}"

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (Undelay(scene.victims),)

    async def inject(self, scene: Scene) -> None:
        wire = Wire(
            self.milliseconds, self.jitter_milliseconds, self.duplicate_percent,
            self.reorder_percent,
        )  # fmt: skip
        await scene.lab.fabric.delay(scene.lab.spec, scene.victims, wire)
