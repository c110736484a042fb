"""SIGKILL for a process of the lab; systemd starts it again."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Scene
from drills.faults.components import ComponentFault


class KillComponent(ComponentFault, frozen=True, kw_only=True, tag="kill-component"):
    """SIGKILL for a process of the lab; systemd starts it again."""

    title: ClassVar[str] = "SIGKILL"
    instant: ClassVar[bool] = True
    act: ClassVar[tuple[str, ...]] = ("kill", "--signal=SIGKILL")

    def words(self, scene: Scene) -> str:
        return f"{self.title} for {self.component} on {', '.join(scene.victims)}"
