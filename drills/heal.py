"""Replay undo steps until nothing is left: at the end of a drill, by hand, or by the watchdog."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from drills.errors import HealFailed
from drills.journal import Journal, Undo, pending
from drills.lab import DrillLab
from drills.undo import AnyStep
from kube.machinery.errors import StatusError
from provision.errors import ProvisionError
from provision.providers.base import ProviderError

# One machine may have to boot before a command runs on it again.
PATIENCE_SECONDS = 90.0
PAUSE_SECONDS = 0.5


async def heal(
    lab: DrillLab, by: str = "heal", run: str = "", patience: float = PATIENCE_SECONDS
) -> list[str]:
    """Undo what drills (or one run) have left behind; in words what. Raises HealFailed."""
    left = [(j, undo) for j, undo in pending(lab.spec.state_dir) if run in ("", j.folder.name)]
    return await undo_all(lab, left, by, patience)


async def undo_all(
    lab: DrillLab, left: Sequence[tuple[Journal, Undo]], by: str, patience: float = PATIENCE_SECONDS
) -> list[str]:
    """Take these faults back, in rounds: a step may need what another fault's step brings back."""
    deadline = asyncio.get_running_loop().time() + patience
    done: list[str] = []
    waiting = list(left)
    while waiting:
        failed: list[tuple[Journal, Undo]] = []
        why = ""
        for journal, undo in waiting:
            try:
                await _undo(lab, undo.steps)
            except (ProvisionError, ProviderError, StatusError, OSError) as error:
                failed.append((journal, undo))
                why = str(error)
                journal.note(by, "failed", undo.key, why)
            else:
                journal.note(by, "healed", undo.key, "; ".join(map(str, undo.steps)))
                journal.clear(undo.key)
                done.extend(map(str, undo.steps))
        waiting = failed
        if waiting:
            if asyncio.get_running_loop().time() > deadline:
                raise _failure(waiting, why)
            await asyncio.sleep(PAUSE_SECONDS)
    return done


async def _undo(lab: DrillLab, steps: Sequence[AnyStep]) -> None:
    for step in steps:
        await step.apply(lab)


def _failure(left: Sequence[tuple[Journal, Undo]], why: str) -> HealFailed:
    faults = ", ".join(undo.fault for _, undo in left)
    return HealFailed(f"could not undo {faults}: {why}", "`muster drill heal` tries again")
