"""Which UDP flows to forget after a change. Pure.

A UDP flow has no end: while packets keep coming, conntrack sends them where the first one
went, past all rules. TCP is left alone: a connection to a removed endpoint ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.proxy.rendered import RenderedService
from worker.proxy.serviceports import Port


@dataclass(frozen=True, slots=True, order=True)
class Flows:
    """UDP flows to forget: by original destination, optionally only those led to an endpoint."""

    address: str  # "" = any address (node ports)
    port: int
    endpoint: str = ""

    def command(self) -> list[str]:
        words = ["conntrack", "-D", "-f", "ipv4", "-p", "udp", "--dport", str(self.port)]
        if self.address:
            words += ["--orig-dst", self.address]
        if self.endpoint:
            words += ["--dst-nat", self.endpoint]
        return words


def stale_flows(old: RenderedService[Any], new: RenderedService[Any]) -> frozenset[Flows]:
    """Flows that the rules of `old` set up and the rules of `new` would lead elsewhere."""
    now = dict(_udp(new))
    return frozenset(
        flows for port, ips in _all_udp(old, new) for flows in _of_port(port, ips, now.get(port))
    )


def _udp(service: RenderedService[Any]) -> Iterator[tuple[Port, frozenset[str]]]:
    for port, target in zip(service.ports, service.targets, strict=True):
        if port.protocol == "UDP":
            yield port, target.everything


def _all_udp(
    old: RenderedService[Any], new: RenderedService[Any]
) -> Iterator[tuple[Port, frozenset[str]]]:
    yield from _udp(old)
    known = {port for port, _ in _udp(old)}
    for port, _ in _udp(new):
        if port not in known:
            yield port, frozenset()


def _of_port(port: Port, before: frozenset[str], now: frozenset[str] | None) -> Iterator[Flows]:
    if not before and now:
        # Packets of the time without endpoints were let through untranslated or refused; the
        # entries they left would hold on to that.
        yield from _frontends(port, "")
    for endpoint in sorted(before - (now or frozenset())):
        yield from _frontends(port, endpoint)


def _frontends(port: Port, endpoint: str) -> Iterator[Flows]:
    for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
        yield Flows(address, port.port, endpoint)
    if port.node_port:
        yield Flows("", port.node_port, endpoint)
