"""Which UDP flows to forget. Pure.

A UDP flow has no end: while packets keep coming, conntrack sends them where the first one
went, past all rules. TCP is left alone, as upstream leaves it: a connection to a removed endpoint
ends by itself, and one to an endpoint that only terminates shall go on.

What is compared is what conntrack holds now, not what changed: flows that arose while no proxy ran,
or between a change and its rules, are found as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from worker.proxy.rendered import RenderedService

LIST = ("conntrack", "-L", "-f", "ipv4", "-p", "udp")
_ENTRY = re.compile(r"\bdst=(\S+) sport=\d+ dport=(\d+) .*?\bsrc=(\S+)")


@dataclass(frozen=True, slots=True, order=True)
class Flows:
    """UDP flows by where they were sent, and who is to answer."""

    address: str
    port: int
    answers: str

    def command(self) -> list[str]:
        return [
            "conntrack", "-D", "-f", "ipv4", "-p", "udp", "--orig-dst", self.address,
            "--orig-port-dst", str(self.port), "--reply-src", self.answers,
        ]  # fmt: skip


def parse(listing: str) -> frozenset[Flows]:
    """What `conntrack -L` prints; flows that differ in the sender alone are one."""
    return frozenset(
        Flows(address, int(port), answers) for address, port, answers in _ENTRY.findall(listing)
    )


def has_udp(services: Iterable[RenderedService[Any]]) -> bool:
    return any(port.protocol == "UDP" for service in services for port in service.ports)


def stale(flows: Iterable[Flows], services: Iterable[RenderedService[Any]]) -> frozenset[Flows]:
    """Flows to a service that lead to none of its endpoints that still answer. A service without
    any keeps its flows: there is nobody to lead them to."""
    by_address: dict[tuple[str, int], frozenset[str]] = {}
    by_node_port: dict[int, frozenset[str]] = {}
    for address, port, serving in _frontends(services):
        if address:
            by_address[address, port] = serving
        else:
            by_node_port[port] = serving
    return frozenset(
        flow
        for flow in flows
        for serving in (by_address.get((flow.address, flow.port)), by_node_port.get(flow.port))
        if serving is not None and flow.answers not in serving
    )


def _frontends(
    services: Iterable[RenderedService[Any]],
) -> Iterator[tuple[str, int, frozenset[str]]]:
    """Address, port and who answers there; the address is "" for a node port."""
    for service in services:
        for port, target in zip(service.ports, service.targets, strict=True):
            if port.protocol == "UDP" and target.serving:
                for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
                    yield address, port.port, target.serving
                if port.node_port:
                    yield "", port.node_port, target.serving
