"""Takes away rules and chains of the proxy: all of them (`--cleanup`), or those of the other
mode."""

from __future__ import annotations

import shutil

from kube.component.log import get_logger
from worker.proxy.commands import RulesError
from worker.proxy.iptables import BACKENDS, Iptables, legacy_in_use
from worker.proxy.nft.removal import remove_table
from worker.proxy.restore import cleanup, parse_save

log = get_logger(__name__)


async def remove_everything() -> None:
    """An earlier run may have used another back end or mode than this one would choose."""
    failures = []
    for backend in BACKENDS:
        if shutil.which(f"iptables-{backend}-restore") is not None:
            try:
                await _remove(Iptables(backend))
            except RulesError as error:
                failures.append(str(error))
    try:
        await _remove_table()
    except RulesError as error:
        failures.append(str(error))
    if failures:
        raise RulesError("; ".join(failures))


async def remove_other_mode(mode: str) -> None:
    """After the first sync of `mode`, so that no packet misses its service meanwhile. Trouble is
    logged: two sets of rules that say the same do less harm than none."""
    try:
        if mode == "iptables":
            await _remove_table()
            return
        # Asking the legacy tools would load their modules.
        for backend in BACKENDS if legacy_in_use() else BACKENDS[:1]:
            if shutil.which(f"iptables-{backend}-restore") is not None:
                await _remove(Iptables(backend))
    except RulesError as error:
        log.warning("the other mode's rules are left", error=str(error))


async def _remove_table() -> None:
    if await remove_table():
        log.info("cleaned up", mode="nftables")


async def _remove(iptables: Iptables) -> None:
    restore = cleanup(parse_save(await iptables.save()), iptables.section_chains)
    if restore.text:
        await iptables.restore(restore)
        log.info("cleaned up", backend=iptables.backend, chains=len(restore.chains))
