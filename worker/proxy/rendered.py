"""One service on this node, whatever the mode: its ports, where they lead, the rules for that.
Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from worker.proxy.endpoints import OwnNode, Reachable, endpoints_of, reachable
from worker.proxy.serviceports import Port, ports_of

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class RenderedService(Generic[F]):
    """`fragments` are the mode's own, one for each port."""

    ports: tuple[Port, ...] = ()
    targets: tuple[Reachable, ...] = ()
    fragments: tuple[F, ...] = ()

    def without_local(self) -> tuple[int, int]:
        """How many ports a Local traffic policy leaves without endpoints: internal, external."""
        pairs = [t.without_local(p) for p, t in zip(self.ports, self.targets, strict=True)]
        return sum(internal for internal, _ in pairs), sum(external for _, external in pairs)


def rendered(
    service: Service | None,
    slices: Sequence[EndpointSlice],
    node: OwnNode,
    render: Callable[[Port, Reachable], F],
) -> RenderedService[F]:
    ports = tuple(
        port.allowing(node.addresses) for port in (ports_of(service) if service is not None else ())
    )
    targets = tuple(reachable(port, endpoints_of(port, slices, node), node) for port in ports)
    fragments = tuple(render(port, target) for port, target in zip(ports, targets, strict=True))
    return RenderedService(ports, targets, fragments)
