"""A process of the lab is stopped in order and started again, as an upgrade does it."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.components import ComponentFault


class RestartComponent(ComponentFault, frozen=True, kw_only=True, tag="restart-component"):
    """A process of the lab is stopped in order and started again, as an upgrade does it."""

    title: ClassVar[str] = "restart"
    instant: ClassVar[bool] = True
    act: ClassVar[tuple[str, ...]] = ("restart", "--no-block")
