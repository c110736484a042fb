"""SchedulingGates: a pod is not tried while somebody keeps a gate on it (KEP-3521)."""

from __future__ import annotations

from kube.api.core import Pod
from master.scheduler.plugin import Plugin, Rejection


class SchedulingGates(Plugin):
    name = "SchedulingGates"

    def pre_enqueue(self, pod: Pod) -> Rejection | None:
        gates = [gate.name for gate in pod.spec.scheduling_gates]
        if not gates:
            return None
        return Rejection((f"waiting for scheduling gates: [{' '.join(gates)}]",))
