"""What the lab file may say about EC2, and what follows from a machine's size. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from provision.providers.base import LabSpec, MachineSpec, Problem, ProviderError

# AWS keeps the first four addresses and the last one of every subnet to itself
# (VPC guide, "Subnet sizing"), and makes subnets of /16 to /28.
_RESERVED_FIRST = 4
_PREFIXES = range(16, 29)

# General purpose, burstable, everywhere: (vCPUs, MiB).
_SIZES = {
    "t3.micro": (2, 1024),
    "t3.small": (2, 2048),
    "t3.medium": (2, 4096),
    "t3.large": (2, 8192),
    "t3.xlarge": (4, 16384),
    "t3.2xlarge": (8, 32768),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The provider's options. The unset ones follow boto3's own sources, or Debian's images."""

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    image: str | None = None  # AMI id; default: the newest official Debian 12
    instance_type: str | None = None  # default: the smallest t3 that is large enough
    user: str = "admin"  # whom the image lets in; Debian's is admin, Ubuntu's ubuntu
    ingress: tuple[str, ...] = ("0.0.0.0/0",)  # who may come in, as CIDRs
    ports: tuple[int, ...] = (22, 6443)  # to where; within the lab everything is open
    boot_seconds: float = 300.0


def parse_settings(options: Mapping[str, Any]) -> Settings:
    known = {field.name for field in fields(Settings)}
    for name in options:
        if name not in known:
            raise ProviderError(
                f'unknown option "{name}" of provider ec2', f"known are {', '.join(sorted(known))}"
            )
    given = dict(options)
    for name in ("ingress", "ports"):
        if name in given:
            given[name] = tuple(given[name])
    return Settings(**given)


def instance_type(settings: Settings, machine: MachineSpec) -> str:
    if settings.instance_type:
        return settings.instance_type
    for name, (vcpus, memory_mib) in _SIZES.items():
        if machine.cpus <= vcpus and machine.memory_mib <= memory_mib:
            return name
    raise ProviderError(
        f"no t3 instance has the {machine.cpus} CPUs and {machine.memory_mib} MiB of machine "
        f'"{machine.name}"',
        "choose an instance_type, or smaller machines",
    )


def volume_gib(machine: MachineSpec) -> int | None:
    """Whole GiB, as EBS sells them; None leaves the image's own size."""
    return None if machine.disk_mib is None else -(-machine.disk_mib // 1024)


def network_problems(lab: LabSpec) -> Iterator[Problem]:
    subnet = IPv4Network(lab.network.subnet)
    if subnet.prefixlen not in _PREFIXES:
        yield Problem(f"network.subnet {subnet}: a VPC is a /16 to /28", "choose another size")
        return
    reserved = {subnet[index] for index in range(_RESERVED_FIRST)} | {subnet[-1]}
    for machine in lab.machines:
        address = IPv4Address(machine.address)
        if address not in subnet:
            yield Problem(
                f'machine "{machine.name}": {address} is not in {subnet}',
                "choose an address in the subnet",
            )
        elif address in reserved:
            yield Problem(
                f'machine "{machine.name}": AWS keeps {address} to itself',
                f"choose one from {subnet[_RESERVED_FIRST]} to {subnet[-2]}",
            )
