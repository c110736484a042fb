"""A lab's network: its own namespace with a bridge, a cable per machine and one to this host.

Each machine's network namespace is pinned under /run/netns and outlives its processes, so that
its cable can be pulled before its processes die: a dead machine sends no RST.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from provision.providers.base import LabNetwork, LabSpec, MachineSpec, ProviderError
from provision.providers.local import kernel
from provision.providers.local.names import (
    BRIDGE,
    HOST_PORT,
    host_link,
    lab_netns,
    mac_address,
    machine_netns,
    machine_of_netns,
    machine_port,
)

NETNS_DIRECTORY = Path("/run/netns")
_SOURCE_ROOT = Path(__file__).parents[3]
_MADE_BY_US = Path("/run/muster-netns")  # marks that /run/netns came into being with a lab


async def run(*command: str, stdin: str = "") -> str:
    """Run a tool and return its output; a failure becomes an error that quotes it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, error = await process.communicate(stdin.encode())
    if process.returncode:
        text = error.decode().strip() or f"exit code {process.returncode}"
        raise ProviderError(f"{' '.join(command)}: {text}")
    return output.decode()


async def run_module(name: str, *arguments: str) -> None:
    """Run a module of this package: without site packages, because it starts in a third of the
    time."""
    where = f"PYTHONPATH={_SOURCE_ROOT}"
    await run("env", where, sys.executable, "-S", "-m", f"{__package__}.{name}", *arguments)


async def start_module(name: str, *arguments: str, netns: str, errors: Path) -> None:
    """Start a module of this package in a network namespace, as nobody's child: it outlives whoever
    started it. What it says when it fails is in the file `errors`."""
    command = shlex.join(
        ["ip", "netns", "exec", netns, sys.executable, "-S", "-m", f"{__package__}.{name}",
         *arguments]
    )  # fmt: skip
    script = f"cd / && {command} </dev/null >/dev/null 2>{shlex.quote(str(errors))} &"
    await run("env", f"PYTHONPATH={_SOURCE_ROOT}", "setsid", "sh", "-c", script)


def bridge_commands(network: LabNetwork) -> Iterator[str]:
    """For `ip -batch` in the lab's namespace. The bridge keeps one MAC whatever is plugged in."""
    yield "link set lo up"
    yield f"link add {BRIDGE} address {mac_address(network.gateway)} type bridge"
    yield f"link set {BRIDGE} addrgenmode none"
    yield f"addr add {network.gateway}/{network.prefix_length} dev {BRIDGE}"
    yield f"link set {BRIDGE} up"


def host_commands(lab: LabSpec) -> Iterator[str]:
    """For `ip -batch` on the host: one cable, and with its address a route to the lab's subnet."""
    link, network = host_link(lab.name), lab.network
    yield (
        f"link add {link} address {mac_address(network.host_address)} "
        f"type veth peer name {HOST_PORT} netns {lab_netns(lab.name)}"
    )
    yield f"link set {link} addrgenmode none"
    yield f"addr add {network.host_address}/{network.prefix_length} dev {link}"
    yield f"link set {link} up"


def host_port_commands() -> Iterator[str]:
    yield f"link set {HOST_PORT} addrgenmode none master {BRIDGE} up"


def port_commands(lab: str, machine: MachineSpec) -> Iterator[str]:
    """For `ip -batch` in the lab's namespace: the machine's cable, plugged in."""
    port = machine_port(machine.name)
    yield (
        f"link add {port} type veth peer name eth0 address {mac_address(machine.address)} "
        f"netns {machine_netns(lab, machine.name)}"
    )
    yield f"link set {port} addrgenmode none master {BRIDGE} up"


def uplink_commands(network: LabNetwork, machine: MachineSpec) -> Iterator[str]:
    """For `ip -batch` in the machine's namespace."""
    yield "link set lo up"
    yield f"addr add {machine.address}/{network.prefix_length} dev eth0"
    yield "link set eth0 up"
    yield f"route add default via {network.gateway}"


async def make_lab_network(lab: LabSpec) -> None:
    """Make what is missing of the lab's own network; what is there stays as it is."""
    netns = lab_netns(lab.name)
    if not await _netns_works(netns):
        await _delete_netns(netns)
        await _add_netns(netns)
        await _batch(bridge_commands(lab.network), netns)
        # With a forwarding gateway, "no route to host" comes back at once instead of a timeout.
        await run("ip", "netns", "exec", netns, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        await _delete_link(host_link(lab.name))
    if not _link_exists(host_link(lab.name)):
        await _batch(host_commands(lab))
        await _batch(host_port_commands(), netns)


async def make_machine_network(lab: LabSpec, machine: MachineSpec, base: int | None = None) -> None:
    """A fresh namespace, as after a power-on: no rules, routes or connections of the last life.

    With `base` it belongs to a new user namespace, whose root is that user of the host.
    """
    await remove_machine_network(lab.name, machine.name)
    netns = machine_netns(lab.name, machine.name)
    if base is None:
        await _add_netns(netns)
    else:
        await run_module("usernet", str(base), str(NETNS_DIRECTORY / netns))
    await _batch(port_commands(lab.name, machine), lab_netns(lab.name))
    await _batch(uplink_commands(lab.network, machine), netns)


async def unplug(lab: str, machine: str) -> None:
    """Pull the machine's cable. Nothing to do when there is none."""
    with contextlib.suppress(ProviderError):
        await run("ip", "-n", lab_netns(lab), "link", "set", machine_port(machine), "down")


async def remove_machine_network(lab: str, machine: str) -> None:
    if not pinned(machine_netns(lab, machine)):
        return
    # The cable first: with the namespace alone it would vanish only some time later.
    with contextlib.suppress(ProviderError):
        await run("ip", "-n", lab_netns(lab), "link", "del", machine_port(machine))
    await _delete_netns(machine_netns(lab, machine))


async def remove_lab_network(lab: str) -> None:
    await _delete_link(host_link(lab))
    await _delete_netns(lab_netns(lab))
    await _remove_netns_directory()


def machines_present(lab: str) -> set[str]:
    """The machines that have a network namespace."""
    if not NETNS_DIRECTORY.is_dir():
        return set()
    names = (machine_of_netns(lab, entry.name) for entry in NETNS_DIRECTORY.iterdir())
    return {name for name in names if name}


def lab_present(lab: str) -> bool:
    return pinned(lab_netns(lab)) or _link_exists(host_link(lab))


def pinned(netns: str) -> bool:
    return (NETNS_DIRECTORY / netns).exists()


async def _netns_works(netns: str) -> bool:
    """Pinned, and not just an empty file that a crash between two system calls has left."""
    if not pinned(netns):
        return False
    try:
        await run("ip", "-n", netns, "link", "show", BRIDGE)
    except ProviderError:
        return False
    return True


async def _batch(commands: Iterator[str] | Sequence[str], netns: str | None = None) -> None:
    within = ("-n", netns) if netns else ()
    await run("ip", *within, "-batch", "-", stdin="\n".join(commands) + "\n")


async def _add_netns(netns: str) -> None:
    if not NETNS_DIRECTORY.exists():
        _MADE_BY_US.touch()
    await run("ip", "netns", "add", netns)


async def _delete_netns(netns: str) -> None:
    if pinned(netns):
        await run("ip", "netns", "del", netns)


async def _remove_netns_directory() -> None:
    """`ip netns` mounts /run/netns on first use and leaves it: take it away with the last lab."""
    if not _MADE_BY_US.exists() or any(NETNS_DIRECTORY.glob("*")):
        return
    with contextlib.suppress(OSError):
        kernel.unmount(str(NETNS_DIRECTORY))
        NETNS_DIRECTORY.rmdir()
    _MADE_BY_US.unlink(missing_ok=True)


def _link_exists(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


async def _delete_link(link: str) -> None:
    if _link_exists(link):
        await run("ip", "link", "del", link)
