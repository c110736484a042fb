"""Takes the table away. Apart from all else of the mode: the other mode loads this alone."""

from __future__ import annotations

import shutil

from worker.proxy.commands import RulesError, execute

REMOVE = "add table ip kube-proxy\ndelete table ip kube-proxy\n"  # whether it is there or not


async def remove_table() -> bool:
    """Whether there was one. Raises RulesError."""
    if shutil.which("nft") is None:
        return False
    listing = await execute(["nft", "list", "tables", "ip"])
    if "table ip kube-proxy" not in listing.stdout.splitlines():
        return False
    output = await execute(["nft", "-f", "-"], REMOVE)
    if output.code:
        raise RulesError(f"nft failed: {' '.join(output.stderr.split())}")
    return True
