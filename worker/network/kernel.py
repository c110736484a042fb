"""Runs ip, iptables and sysctl for the agent. Every call may be repeated."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kube.component.log import get_logger
from worker.network import plan
from worker.network.plan import Action, Delete, Route

log = get_logger(__name__)
# Others (kube-proxy) hold the lock for as long as they load their rules.
_LOCK_SECONDS = "30"
_COMMAND_SECONDS = 60


class KernelError(Exception):
    """A tool failed; the message has the command and its words."""


async def current_routes() -> set[Route]:
    out = await _run("ip", "-j", "-4", "route", "show", "proto", str(plan.ROUTE_PROTOCOL))
    return plan.current_routes(out)


async def apply(action: Action) -> None:
    protocol = ("proto", str(plan.ROUTE_PROTOCOL))
    if isinstance(action, Delete):
        await _run("ip", "route", "del", action.cidr, *protocol)
    elif action.route.via:
        await _run("ip", "route", "replace", action.route.cidr, "via", action.route.via, *protocol)
    else:
        await _run("ip", "route", "replace", "unreachable", action.route.cidr, *protocol)
    log.info("route changed", action=str(action))


async def ensure_chains(cluster_cidr: str) -> None:
    """Our chains, whole, and one jump to each, whatever else is there.

    Looking costs little; rules are only written when some are missing, since every write makes
    kube-proxy's own, going on at the same time, start again.
    """
    if await _chains_are_there(cluster_cidr):
        return
    await _run(
        "iptables-restore", "-w", _LOCK_SECONDS, "--noflush", stdin=plan.chains(cluster_cidr)
    )
    for table, chain, own in plan.JUMPS:
        jump = ("-w", _LOCK_SECONDS, "-t", table)
        try:
            await _run("iptables", *jump, "-C", chain, "-j", own)
        except KernelError:
            await _run("iptables", *jump, "-A", chain, "-j", own)
            log.info("chain entered", table=table, chain=own)


async def _chains_are_there(cluster_cidr: str) -> bool:
    checks = [*plan.rules(cluster_cidr)]
    checks += [(table, chain, ("-j", own)) for table, chain, own in plan.JUMPS]
    try:
        for table, chain, rule in checks:
            await _run("iptables", "-w", _LOCK_SECONDS, "-t", table, "-C", chain, *rule)
    except KernelError:
        return False
    return True


def enable_forwarding() -> None:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    if path.read_text().strip() != "1":
        path.write_text("1")


async def _run(*command: str, stdin: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            out, err = await process.communicate(stdin.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise KernelError(f"{' '.join(command)}: {err.decode(errors='replace').strip()}")
    return out.decode()
