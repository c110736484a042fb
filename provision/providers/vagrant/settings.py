"""What a lab may say about Vagrant, and the description that the Vagrantfile reads. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from ipaddress import IPv4Network
from typing import Any

from provision.providers.base import LabSpec, Problem, ProviderError

BACKENDS = ("libvirt", "virtualbox")

# VirtualBox 6.1.28 and later make host-only networks here only (manual, "Host-Only Networking").
_VIRTUALBOX_RANGE = IPv4Network("192.168.56.0/21")


@dataclass(frozen=True, slots=True)
class Settings:
    """The provider's options. `libvirt` and `virtualbox` go to Vagrant's own, unread."""

    backend: str = "libvirt"
    box: str = "debian/bookworm64"
    guest: str = (
        ""  # what the box is, such as debian: spares Vagrant dozens of commands to find out
    )
    insert_key: bool = True  # replace the box's well-known SSH key at the first boot
    boot_seconds: float = 300.0  # for one machine; without KVM take 900 and more
    halt_seconds: float = 120.0
    libvirt: Mapping[str, Any] = field(default_factory=dict)
    virtualbox: Mapping[str, Any] = field(default_factory=dict)

    @property
    def emulated(self) -> bool:
        """Whether it was asked for that the processor be emulated, without /dev/kvm."""
        return self.libvirt.get("driver") == "qemu"


def parse_settings(options: Mapping[str, Any]) -> Settings:
    known = {f.name for f in fields(Settings)}
    for name in options:
        if name not in known:
            raise ProviderError(
                f'unknown option "{name}" of provider vagrant',
                f"known are {', '.join(sorted(known))}",
            )
    settings = Settings(**options)
    if settings.backend not in BACKENDS:
        raise ProviderError(
            f'option backend of provider vagrant: "{settings.backend}"',
            f"use one of {', '.join(BACKENDS)}",
        )
    return settings


def description(lab: LabSpec, settings: Settings) -> str:
    """The lab as the Vagrantfile reads it."""
    return json.dumps(
        {
            "name": lab.name,
            "network": asdict(lab.network),
            "machines": [asdict(machine) for machine in lab.machines],
            "vagrant": {
                "box": settings.box,
                "guest": settings.guest or None,
                "insert_key": settings.insert_key,
                "boot_seconds": settings.boot_seconds,
                "libvirt": dict(settings.libvirt),
                "virtualbox": dict(settings.virtualbox),
            },
        },
        indent=2,
    )


def network_problems(lab: LabSpec, settings: Settings, networks_conf: str) -> Iterator[Problem]:
    """`networks_conf` is /etc/vbox/networks.conf, which widens what VirtualBox allows."""
    if settings.backend != "virtualbox":
        return
    subnet = IPv4Network(lab.network.subnet)
    allowed = [_VIRTUALBOX_RANGE, *_allowed_networks(networks_conf)]
    if not any(subnet.subnet_of(network) for network in allowed):
        yield Problem(
            f"VirtualBox makes no host-only network {subnet}",
            f'add the line "* {subnet}" to /etc/vbox/networks.conf, '
            f"or choose a subnet in {_VIRTUALBOX_RANGE}",
        )


def _allowed_networks(networks_conf: str) -> Iterator[IPv4Network]:
    for line in networks_conf.splitlines():
        words = line.split()
        if words[:1] == ["*"]:
            for word in words[1:]:
                if ":" not in word:  # IPv6
                    yield IPv4Network(word, strict=False)
