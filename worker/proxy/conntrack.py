"""Deletes flows by conntrack(8)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from muster.component.log import get_logger
from worker.proxy.commands import RulesError, execute
from worker.proxy.flows import Flows

log = get_logger(__name__)
TIMEOUT_SECONDS = 10.0


async def forget(flows: Sequence[Flows]) -> None:
    """Delete the flows; one call each. Trouble is logged: the rules themselves are right."""
    if flows and shutil.which("conntrack") is None:
        log.warning("conntrack is not installed: old UDP flows keep their endpoint")
        return
    for one in flows:
        command = one.command()
        try:
            output = await execute(command, timeout=TIMEOUT_SECONDS)
        except RulesError as error:
            log.warning("conntrack failed", error=str(error))
            continue
        # "0 flow entries have been deleted" is exit code 1, and no failure.
        if output.code and "0 flow entries" not in output.stderr:
            log.warning("conntrack failed", command=" ".join(command), error=output.stderr.strip())
