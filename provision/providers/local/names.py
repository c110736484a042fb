"""What the host calls the parts of a lab. Pure: the same lab always gets the same names."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address

PREFIX = "mu-"
LINK_NAME_MAX = 15  # IFNAMSIZ - 1
BRIDGE = "lab0"
HOST_PORT = "host0"


def mac_address(address: str) -> str:
    """A MAC that follows from the IP address, for life.

    A machine made anew on the same address is then reachable at once: with random MACs its
    peers kept their stale ARP entries for up to a minute. 02 marks it locally administered.
    """
    packed = IPv4Address(address).packed
    return ":".join(["02", "1a", *(f"{byte:02x}" for byte in packed)])


def short_link(prefix: str, name: str) -> str:
    """`prefix + name` where the kernel's 15 characters allow, else cut and made unique."""
    full = prefix + name
    if len(full) <= LINK_NAME_MAX:
        return full
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{full[: LINK_NAME_MAX - 7]}-{digest}"


def host_link(lab: str) -> str:
    """The host's end of its cable into the lab."""
    return short_link(PREFIX, lab)


def machine_port(machine: str) -> str:
    """The bridge's end of a machine's cable, inside the lab's network namespace."""
    return short_link("v-", machine)


def slow_port(machine: str) -> str:
    """What is on the bridge in place of that port while the machine's frames are late."""
    return short_link("d-", machine)


def lab_netns(lab: str) -> str:
    return PREFIX + lab


def machine_netns(lab: str, machine: str) -> str:
    # A dot cannot occur in a lab's name, so machine "b" of lab "a" is not lab "a-b".
    return f"{PREFIX}{lab}.{machine}"


def machine_of_netns(lab: str, netns: str) -> str | None:
    """The machine whose namespace `netns` is, when it is one of this lab's."""
    prefix = f"{PREFIX}{lab}."
    return netns.removeprefix(prefix) if netns.startswith(prefix) else None


def lab_of_netns(netns: str) -> str | None:
    """The lab that `netns` is of: its own namespace, or one of its machines'."""
    return netns.removeprefix(PREFIX).partition(".")[0] if netns.startswith(PREFIX) else None


def lab_cgroup(lab: str) -> str:
    return PREFIX + lab
