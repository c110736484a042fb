"""A drill that is killed: `python -m ... LAB RUN FAULT-YAML MACHINE STEP`.

Injects one fault into a lab of bare machines, takes it back again, and kills itself with SIGKILL
when it comes to STEP. `acting` is in the middle of the injection.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

import msgspec
import yaml

from drills.faults import AnyFault, Scene
from drills.injection import Injector
from drills.journal import Journal
from drills.lab import running_lab

ACTING_AFTER_SECONDS = 0.05


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    name, run, text, machine, wanted = sys.argv[1:]
    lab = running_lab(name)
    fault = msgspec.convert(yaml.safe_load(text), AnyFault)

    def step(reached: str) -> None:
        if reached == wanted:
            die()
        if reached == "written" and wanted == "acting":
            threading.Timer(ACTING_AFTER_SECONDS, die).start()

    others = tuple(m.name for m in lab.spec.machines if m.name != machine)
    scene = Scene(lab, f"{run}-x", (machine,), others)
    async with Injector("a-drill", Journal(lab.spec.state_dir / "drills" / run), step) as injector:
        await injector.inject("1", fault, scene)


if __name__ == "__main__":
    asyncio.run(main())
