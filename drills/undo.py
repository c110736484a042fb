"""How faults are taken back, as typed data: what stands in the journal before a fault acts.

A step may be repeated, and finds nothing to do where nothing is left. That lets the drill itself,
`muster drill heal` and the watchdog replay the same steps, one after another or at once.
"""

from __future__ import annotations

import msgspec

from drills.lab import DrillLab
from kube.api.core import Node
from kube.machinery.errors import NotFound


class Step(msgspec.Struct, frozen=True, tag_field="step"):
    """One thing to do. `str()` says in words what it undoes."""

    async def apply(self, lab: DrillLab) -> None:
        """Do it. Each kind of step says how; done twice it does no harm."""
        raise NotImplementedError  # a Struct cannot be an abstract class


class PowerOn(Step, frozen=True, tag="power-on"):
    """Boot machines that are off, and thaw frozen ones."""

    machines: tuple[str, ...]

    async def apply(self, lab: DrillLab) -> None:
        await lab.provider.start(lab.spec, self.machines)

    def __str__(self) -> str:
        return f"switched on again: {', '.join(self.machines)}"


class Resume(Step, frozen=True, tag="resume"):
    machines: tuple[str, ...]

    async def apply(self, lab: DrillLab) -> None:
        await lab.provider.resume(lab.spec, self.machines)

    def __str__(self) -> str:
        return f"resumed: {', '.join(self.machines)}"


class Plug(Step, frozen=True, tag="plug"):
    machines: tuple[str, ...]

    async def apply(self, lab: DrillLab) -> None:
        await lab.fabric.plug(lab.spec, self.machines)

    def __str__(self) -> str:
        return f"plugged in again: {', '.join(self.machines)}"


class PassAgain(Step, frozen=True, tag="pass-again"):
    """Frames that were lost under `key` pass again."""

    key: str
    what: str

    async def apply(self, lab: DrillLab) -> None:
        await lab.fabric.stop_losing(lab.spec, self.key)

    def __str__(self) -> str:
        return f"passes again: {self.what}"


class Unshape(Step, frozen=True, tag="unshape"):
    machines: tuple[str, ...]

    async def apply(self, lab: DrillLab) -> None:
        await lab.fabric.unshape(lab.spec, self.machines)

    def __str__(self) -> str:
        return f"full bandwidth again: {', '.join(self.machines)}"


class Undelay(Step, frozen=True, tag="undelay"):
    machines: tuple[str, ...]

    async def apply(self, lab: DrillLab) -> None:
        await lab.fabric.undelay(lab.spec, self.machines)

    def __str__(self) -> str:
        return f"a plain cable again: {', '.join(self.machines)}"


class Unslow(Step, frozen=True, tag="unslow"):
    machines: tuple[str, ...]

    async def apply(self, lab: DrillLab) -> None:
        await lab.disks.unslow(lab.spec, self.machines)

    def __str__(self) -> str:
        return f"disk as fast as it is again: {', '.join(self.machines)}"


class RunOn(Step, frozen=True, tag="run-on"):
    """A command on a machine. One that is gone for good needs no healing."""

    machine: str
    command: tuple[str, ...]
    what: str

    async def apply(self, lab: DrillLab) -> None:
        await lab.run_on(self.machine, self.command)

    def __str__(self) -> str:
        return f"{self.what} on {self.machine}"


class Uncordon(Step, frozen=True, tag="uncordon"):
    node: str

    async def apply(self, lab: DrillLab) -> None:
        async with lab.client() as client:
            try:
                await client.patch(Node, self.node, {"spec": {"unschedulable": None}}, "merge")
            except NotFound:
                return

    def __str__(self) -> str:
        return f"schedulable again: {self.node}"


AnyStep = PowerOn | Resume | Plug | PassAgain | Unshape | Undelay | Unslow | RunOn | Uncordon
