"""What hogs have in common: a transient unit on the machine, which is stopped at the end."""

from __future__ import annotations

from collections.abc import Sequence

from drills.faults.base import Scene
from drills.undo import AnyStep, RunOn

# Stopping a unit that is not there, or no longer, is no failure.
STOP = 'systemctl stop "$1" 2>/dev/null || ! systemctl is-active --quiet "$1"'


def unit(scene: Scene) -> str:
    return f"muster-drill-{scene.key}.service"


def stop(scene: Scene, what: str) -> tuple[AnyStep, ...]:
    return tuple(
        RunOn(name, ("sh", "-c", STOP, "sh", unit(scene)), f"ended the {what}")
        for name in scene.victims
    )


async def start(scene: Scene, command: Sequence[str], *properties: str) -> None:
    """Run `command` as a unit on each victim; it does not come back when it dies."""
    for name in scene.victims:
        await scene.lab.run_on(
            name,
            ["systemd-run", "--quiet", "--collect", f"--unit={unit(scene)}",
             *(f"--property={p}" for p in properties), *command],
        )  # fmt: skip
