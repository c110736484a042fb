"""What a mode must be able to do: render one service, and make the kernel hold all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from worker.proxy.endpoints import OwnNode
from worker.proxy.rendered import RenderedService


@dataclass(frozen=True, slots=True)
class Written:
    """What a sync wrote; false when nothing differed."""

    chains: int = 0
    rules: Mapping[str, int] = field(default_factory=dict)  # by table

    def __bool__(self) -> bool:
        return bool(self.rules)


class Writer(Protocol):
    """One per process. Whatever a failed `write` leaves is made right by the next full one."""

    @property
    def mode(self) -> str: ...

    def render(
        self, service: Service | None, slices: Sequence[EndpointSlice], node: OwnNode
    ) -> RenderedService[Any]:
        """Pure."""
        ...

    async def write(
        self, services: Mapping[str, RenderedService[Any]], node: OwnNode, *, full: bool
    ) -> Written:
        """Make the rules those of `services`. `full`: also if others changed them. Raises
        RulesError."""
        ...

    def rules(self) -> Mapping[str, int]:
        """How many there are, by table."""
        ...
