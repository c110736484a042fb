"""Reads and deletes flows by conntrack(8)."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from typing import Any

from kube.component.log import get_logger
from worker.proxy.commands import RulesError, execute
from worker.proxy.flows import LIST, has_udp, parse, stale
from worker.proxy.rendered import RenderedService

log = get_logger(__name__)
TIMEOUT_SECONDS = 10.0


async def forget_stale(services: Collection[RenderedService[Any]]) -> None:
    """Trouble is logged: the rules themselves are right."""
    if not has_udp(services):
        return
    if shutil.which("conntrack") is None:
        log.warning("conntrack is not installed: old UDP flows keep their endpoint")
        return
    flows = parse(await _run(list(LIST)))
    for one in sorted(stale(flows, services)):
        await _run(one.command())


async def _run(command: list[str]) -> str:
    """What it printed."""
    try:
        output = await execute(command, timeout=TIMEOUT_SECONDS)
    except RulesError as error:
        log.warning("conntrack failed", error=str(error))
        return ""
    # "0 flow entries have been deleted" is exit code 1, and no failure.
    if output.code and "0 flow entries" not in output.stderr:
        log.warning("conntrack failed", command=" ".join(command), error=output.stderr.strip())
    return output.stdout
