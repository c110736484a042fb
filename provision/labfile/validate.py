"""What the types of a lab file cannot say: networks that clash, counts that make no sense."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations

from msgspec import UNSET

from provision.errors import LabFileError
from provision.labfile.size import mebibytes
from provision.labfile.spec import Lab, Machines, MachineSize, Network, stanza
from provision.providers import PROVIDERS

MAX_MASTERS = 9  # addresses .11 to .19; workers begin at .21
MAX_WORKERS = 200
MIN_MEMORY_MIB = 256


def sizes(machines: Machines) -> list[MachineSize]:
    """A count is that many machines of the default size."""
    return [MachineSize()] * machines if isinstance(machines, int) else machines


def validate(lab: Lab, source: str = "lab file") -> None:
    """Raise `LabFileError` for the first thing that cannot work."""
    _validate_masters(len(sizes(lab.spec.masters)), source)
    for role in ("masters", "workers"):
        declared: Machines = getattr(lab.spec, role)
        if isinstance(declared, list):
            _validate_sizes(declared, f"spec.{role}", source)
    _validate_network(lab.spec.network, _machine_count(lab), source)
    _validate_options(lab, source)


def _machine_count(lab: Lab) -> int:
    return len(sizes(lab.spec.masters)) + len(sizes(lab.spec.workers))


def _validate_masters(count: int, source: str) -> None:
    if count < 1:
        raise LabFileError(
            f"{source}: spec.masters: expected at least 1, got {count}", "a lab needs a master"
        )
    if count > MAX_MASTERS:
        raise LabFileError(
            f"{source}: spec.masters: expected at most {MAX_MASTERS}, got {count}",
            "3 masters survive the loss of one, 5 of two",
        )
    if count % 2 == 0:
        raise LabFileError(
            f"{source}: spec.masters: expected an odd number, got {count}",
            f"{count} masters survive no more failures than {count - 1}: "
            f"use {count - 1} or {count + 1}",
        )


def _validate_sizes(machines: list[MachineSize], path: str, source: str) -> None:
    for index, machine in enumerate(machines):
        if mebibytes(machine.memory) < MIN_MEMORY_MIB:
            raise LabFileError(
                f"{source}: {path}[{index}].memory: expected at least {MIN_MEMORY_MIB}Mi, "
                f'got "{machine.memory}"',
                "a machine's own processes need that much",
            )


def _validate_network(network: Network, machines: int, source: str) -> None:
    networks = {
        f"spec.network.{name}": _network(value, f"spec.network.{name}", source)
        for name, value in (
            ("subnet", network.subnet),
            ("podCIDR", network.pod_cidr),
            ("serviceCIDR", network.service_cidr),
        )
        if value is not UNSET and isinstance(value, str)
    }
    for (one, left), (other, right) in combinations(networks.items(), 2):
        if left.overlaps(right):
            raise LabFileError(
                f"{source}: {other}: {right} overlaps {one} {left}",
                "give each of the lab's networks its own range",
            )
    _validate_prefix(networks, "subnet", 16, 24, "it holds every machine", source)
    _validate_prefix(networks, "podCIDR", 8, 23, "every machine gets a /24 of it", source)
    _validate_prefix(networks, "serviceCIDR", 12, 26, "10 and 1 are reserved in it", source)
    pods = networks["spec.network.podCIDR"]
    if 1 << (24 - pods.prefixlen) < machines:
        raise LabFileError(
            f"{source}: spec.network.podCIDR: {pods} has fewer /24 networks than the "
            f"{machines} machines need",
            "use a larger network, such as 10.244.0.0/16",
        )
    _validate_ports(network.node_port_range, source)


def _network(value: str, path: str, source: str) -> IPv4Network:
    try:
        return IPv4Network(value)
    except ValueError as error:
        hint = "see docs/lab.schema.json"
        if "host bits" in str(error):
            hint = f"did you mean {IPv4Network(value, strict=False)}?"
        raise LabFileError(f"{source}: {path}: {error}", hint) from None


def _validate_prefix(
    networks: dict[str, IPv4Network], name: str, low: int, high: int, why: str, source: str
) -> None:
    network = networks.get(f"spec.network.{name}")
    if network is not None and not low <= network.prefixlen <= high:
        raise LabFileError(
            f"{source}: spec.network.{name}: expected a prefix from /{low} to /{high}, "
            f"got {network}",
            why,
        )


def _validate_ports(value: str, source: str) -> None:
    low, high = (int(part) for part in value.split("-"))
    if not 1024 <= low <= high <= 65535:
        raise LabFileError(
            f"{source}: spec.network.nodePortRange: expected 1024 <= low <= high <= 65535, "
            f'got "{value}"',
            "upstream's range is 30000-32767",
        )


def _validate_options(lab: Lab, source: str) -> None:
    """Options of a provider that is not used are a mistake, not decoration."""
    for name in PROVIDERS:
        if name != lab.spec.provider and stanza(lab.spec, name) is not UNSET:
            raise LabFileError(
                f"{source}: spec.{name}: options of {name}, but spec.provider is "
                f'"{lab.spec.provider}"',
                f"remove spec.{name} or set spec.provider to {name}",
            )
