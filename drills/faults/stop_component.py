"""A process of the lab is stopped, and stays so until the end of the fault."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.components import SilentComponent


class StopComponent(SilentComponent, frozen=True, kw_only=True, tag="stop-component"):
    """A process of the lab is stopped, and stays so until the end of the fault."""

    title: ClassVar[str] = "stop"
    act: ClassVar[tuple[str, ...]] = ("stop",)
