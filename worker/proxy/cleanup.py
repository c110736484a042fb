"""`--cleanup`: take away every rule and chain of the proxy, from both iptables back ends."""

from __future__ import annotations

import shutil

from muster.component.log import get_logger
from worker.proxy.iptables import BACKENDS, Iptables
from worker.proxy.restore import cleanup, parse_save

log = get_logger(__name__)


async def remove_everything() -> None:
    """An earlier run may have used another back end than this one would choose."""
    for backend in BACKENDS:
        if shutil.which(f"iptables-{backend}-restore") is None:
            continue
        iptables = Iptables(backend)
        restore = cleanup(parse_save(await iptables.save()))
        if restore.text:
            await iptables.restore(restore)
        log.info("cleaned up", backend=backend, chains=len(restore.chains))
