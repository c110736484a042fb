"""`--cleanup`: take away every rule and chain of the proxy, from both iptables back ends."""

from __future__ import annotations

import shutil

from muster.component.log import get_logger
from worker.proxy.iptables import BACKENDS, Iptables, IptablesError
from worker.proxy.restore import cleanup, parse_save

log = get_logger(__name__)


async def remove_everything() -> None:
    """An earlier run may have used another back end than this one would choose."""
    failures = []
    for backend in BACKENDS:
        if shutil.which(f"iptables-{backend}-restore") is not None:
            try:
                await _remove(Iptables(backend))
            except IptablesError as error:
                failures.append(str(error))
    if failures:
        raise IptablesError("; ".join(failures))


async def _remove(iptables: Iptables) -> None:
    restore = cleanup(parse_save(await iptables.save()), iptables.section_chains)
    if restore.text:
        await iptables.restore(restore)
    log.info("cleaned up", backend=iptables.backend, chains=len(restore.chains))
