"""Whether a lab's addresses make sense and collide with nobody's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from provision.providers.base import LabSpec, Problem


@dataclass(frozen=True, slots=True)
class TakenSubnet:
    subnet: IPv4Network
    owner: str  # "a route of this host through eth0", 'lab "other"'


def routes_taken(routes: Iterable[dict[str, object]], own_link: str) -> Iterator[TakenSubnet]:
    """From `ip -json route`: every destination but the default and the lab's own."""
    for route in routes:
        destination, device = str(route.get("dst", "")), str(route.get("dev", ""))
        if destination == "default" or device == own_link:
            continue
        try:
            subnet = IPv4Network(destination)
        except (AddressValueError, NetmaskValueError, ValueError):
            continue
        yield TakenSubnet(subnet, f"a route of this host through {device}")


def subnet_problems(lab: LabSpec, taken: Iterable[TakenSubnet]) -> Iterator[Problem]:
    try:
        subnet = IPv4Network(lab.network.subnet)
    except ValueError as error:
        yield Problem(f"network.subnet {lab.network.subnet}: {error}", "use a CIDR subnet")
        return
    for other in taken:
        if subnet.overlaps(other.subnet):
            yield Problem(
                f"network.subnet {subnet} overlaps {other.subnet}, {other.owner}",
                "choose another subnet in the lab file",
            )
    yield from _address_problems(lab, subnet)


def _address_problems(lab: LabSpec, subnet: IPv4Network) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    named = [
        ("network.gateway", lab.network.gateway),
        ("network.hostAddress", lab.network.host_address),
    ]
    named += [(f'machine "{m.name}"', m.address) for m in lab.machines]
    for owner, address in named:
        if IPv4Address(address) not in subnet:
            yield Problem(f"{owner}: {address} is not in {subnet}", "choose one in the subnet")
        if address in owners:
            yield Problem(f"{owner}: {address} is also {owners[address]}", "give each its own")
        owners[address] = owner
