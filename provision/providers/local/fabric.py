"""Faults of the lab's network: cables pulled, frames lost, bandwidth cut, all on the lab's bridge.

Everything is made in the lab's own network namespace, out of the machines' reach, and vanishes with
it. Lost frames are rules of an nftables table for each key (`nft(8)`, family bridge). Bandwidth is
a queue for what a machine receives (`tc-tbf(8)`), and a limit, without a queue, for what it sends:
the police action of tc(8) is missing from many kernels. Frames are late by a process of ours, since
netem is missing, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from provision.providers.base import Drop, LabSpec, ProviderError, Wire
from provision.providers.local import processes
from provision.providers.local.names import BRIDGE, lab_netns, machine_port, slow_port
from provision.providers.local.network import pinned, run, start_module
from provision.providers.local.slowwire import WireSpec
from provision.providers.local.state import LabPaths
from provision.providers.local.waiting import wait_ended

BURST_KBIT = 32
BURST_KBYTES = 64
_START_SECONDS = _END_SECONDS = 10.0


def table_name(key: str) -> str:
    return f"drill-{key}"


def ruleset(key: str, drops: Sequence[Drop]) -> str:
    """What `nft -f` reads. Pure."""
    lines = "\n".join(f"    {rule}" for drop in drops for rule in rules(drop))
    return (
        f"table bridge {table_name(key)} {{\n"
        "  chain lose {\n"
        "    type filter hook forward priority 0\n"
        f"{lines}\n"
        "  }\n"
        "}\n"
    )


def rules(drop: Drop) -> Iterator[str]:
    """One rule, or one for each protocol where a port is meant."""
    words = []
    if drop.source:
        words.append(f'iifname "{machine_port(drop.source)}"')
    if drop.destination:
        words.append(f'oifname "{machine_port(drop.destination)}"')
    chance = f"numgen random mod 100 < {drop.percent} " if drop.percent < 100 else ""
    if drop.port is None:
        yield " ".join([*words, f"{chance}drop"])
        return
    for protocol in ("tcp", "udp"):
        yield " ".join(
            [*words, f"ether type ip ip protocol {protocol} {protocol} dport {drop.port}",
             f"{chance}drop"]
        )  # fmt: skip


def _rate_key(machine: str) -> str:
    return f"rate-{machine}"


def rate_ruleset(machine: str, kbit: int) -> str:
    """What a machine sends beyond the rate is lost. Pure."""
    return (
        f"table bridge {table_name(_rate_key(machine))} {{\n"
        "  chain slow {\n"
        "    type filter hook forward priority 0\n"
        f'    iifname "{machine_port(machine)}" limit rate over {max(1, kbit // 8)} kbytes/second '
        f"burst {BURST_KBYTES} kbytes drop\n"
        "  }\n"
        "}\n"
    )


class LocalFabric:
    """The bridge of a lab of local machines."""

    async def unplug(self, lab: LabSpec, names: Sequence[str]) -> None:
        await self._set_cables(lab, names, "down")

    async def plug(self, lab: LabSpec, names: Sequence[str]) -> None:
        await self._set_cables(lab, names, "up")

    async def lose(self, lab: LabSpec, key: str, drops: Sequence[Drop]) -> None:
        await self.stop_losing(lab, key)
        await _nft(lab, ruleset(key, drops))

    async def stop_losing(self, lab: LabSpec, key: str) -> None:
        if pinned(lab_netns(lab.name)):
            # Made first, so that it can be deleted whether it was there or not.
            table = f"table bridge {table_name(key)}"
            await _nft(lab, f"{table} {{ }}\ndelete {table}\n")

    async def shape(self, lab: LabSpec, names: Sequence[str], kbit: int) -> None:
        await self.unshape(lab, names)
        for machine in lab.chosen(names):
            port = machine_port(machine.name)
            await _tc(
                lab, "qdisc", "add", "dev", port, "root", "tbf", "rate", f"{kbit}kbit",
                "burst", f"{BURST_KBIT}kbit", "latency", "400ms",
            )  # fmt: skip
            await _nft(lab, rate_ruleset(machine.name, kbit))

    async def unshape(self, lab: LabSpec, names: Sequence[str]) -> None:
        for machine in lab.chosen(names):
            # Not there, or no port at all while the machine is off: nothing to undo.
            with contextlib.suppress(ProviderError):
                await _tc(lab, "qdisc", "del", "dev", machine_port(machine.name), "root")
            await self.stop_losing(lab, _rate_key(machine.name))

    async def delay(self, lab: LabSpec, names: Sequence[str], wire: Wire) -> None:
        await self.undelay(lab, names)
        for machine in lab.chosen(names):
            await _slow_down(lab, machine.name, wire)

    async def undelay(self, lab: LabSpec, names: Sequence[str]) -> None:
        for machine in lab.chosen(names):
            paths = LabPaths(lab.state_dir).machine(machine.name)
            # First: one that is only just starting looks for it, and ends without.
            paths.wire.unlink(missing_ok=True)
            handle = processes.open_alive(processes.read_record(paths.wire_process))
            if handle is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                await wait_ended(handle, _END_SECONDS)
            for file in (paths.wire_process, paths.wire_errors):
                file.unlink(missing_ok=True)
            port = machine_port(machine.name)
            if await _has_port(lab, port):
                await run("ip", "-n", lab_netns(lab.name), "link", "set", port, "master", BRIDGE)

    async def _set_cables(self, lab: LabSpec, names: Sequence[str], state: str) -> None:
        for machine in lab.chosen(names):
            port = machine_port(machine.name)
            if await _has_port(lab, port):
                await run("ip", "-n", lab_netns(lab.name), "link", "set", port, state)


async def _slow_down(lab: LabSpec, machine: str, wire: Wire) -> None:
    """Put a process between the machine's port and the bridge (see `slowwire`)."""
    paths, netns = LabPaths(lab.state_dir).machine(machine), lab_netns(lab.name)
    port, tap = machine_port(machine), slow_port(machine)
    if not await _has_port(lab, port):
        raise ProviderError(f'machine "{machine}" is off', "start it first")
    spec: WireSpec = {
        "port": port,
        "tap": tap,
        "record": str(paths.wire_process),
        "delay_ms": wire.delay_ms,
        "jitter_ms": wire.jitter_ms,
        "duplicate_percent": wire.duplicate_percent,
        "reorder_percent": wire.reorder_percent,
    }
    paths.wire.write_text(json.dumps(spec))
    await start_module("slowwire", str(paths.wire), netns=netns, errors=paths.wire_errors)
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while not paths.wire_process.exists():
        why = _said(paths.wire_errors)
        if why or asyncio.get_running_loop().time() > deadline:
            raise ProviderError(f"cannot slow {machine} down: {why or 'nothing happened'}")
        await asyncio.sleep(0.01)
    change = (
        f"link set {port} nomaster\nlink set {tap} addrgenmode none master {BRIDGE}\n"
        f"link set {tap} up\n"
    )
    await run("ip", "-n", netns, "-batch", "-", stdin=change)


def _said(errors: Path) -> str:
    """The last line of what it complained about; "" for nothing."""
    lines = errors.read_text().split("\n") if errors.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "")


async def _has_port(lab: LabSpec, port: str) -> bool:
    if not pinned(lab_netns(lab.name)):
        return False
    return f": {port}@" in await run("ip", "-n", lab_netns(lab.name), "-o", "link", "show")


async def _nft(lab: LabSpec, text: str) -> None:
    await run("ip", "netns", "exec", lab_netns(lab.name), "nft", "-f", "-", stdin=text)


async def _tc(lab: LabSpec, *words: str) -> None:
    await run("ip", "netns", "exec", lab_netns(lab.name), "tc", *words)
