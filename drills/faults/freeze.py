"""The machine stands still in the middle of all it does: it keeps its memory, answers nothing."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, Resume


class Freeze(Fault, frozen=True, kw_only=True, tag="freeze"):
    """The machine stands still in the middle of all it does, and goes on as if nothing had been."""

    title: ClassVar[str] = "freeze"
    needs: ClassVar[Needs] = Needs(verbs=("pause", "resume"))
    takes_machines: ClassVar[bool] = True
    takes_pods: ClassVar[bool] = True

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return (Resume(scene.victims),)

    async def inject(self, scene: Scene) -> None:
        await scene.lab.provider.pause(scene.lab.spec, scene.victims)
