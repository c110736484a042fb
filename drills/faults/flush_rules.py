"""Somebody flushes iptables: the rules of all Services are gone from a node."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.faults.components import unit
from drills.undo import AnyStep, RunOn


class FlushRules(Fault, frozen=True, kw_only=True, tag="flush-rules"):
    """Somebody flushes iptables: the rules of all Services are gone from a node."""

    title: ClassVar[str] = "iptables flushed"
    needs: ClassVar[Needs] = Needs(tools=("iptables", "systemctl"))

    def components(self) -> tuple[str, ...]:
        return ("proxy",)

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        # kube-proxy writes everything anew when it starts.
        again = ("systemctl", "restart", "--no-block", unit("proxy"))
        return tuple(RunOn(n, again, "restarted proxy") for n in scene.victims)

    async def inject(self, scene: Scene) -> None:
        for name in scene.victims:
            for table in ("nat", "filter"):
                await scene.lab.run_on(name, ["iptables", "-w", "10", "-t", table, "-F"])
