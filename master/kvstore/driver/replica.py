"""This member's copy of the replicated state."""

from __future__ import annotations

from collections.abc import Callable

from master.kvstore.machine import Machine
from master.kvstore.watch.hub import Hub


class Replica:
    """`machine` as it is after the entry `applied`; `hub` tells watchers of its changes."""

    def __init__(self, machine: Machine, applied: int, header: Callable[[int], bytes]) -> None:
        self.machine = machine
        self.applied = applied
        self.hub = Hub(machine.mvcc, header)

    def replace(self, machine: Machine, applied: int) -> None:
        """A state that came from elsewhere takes the place of this one."""
        self.machine = machine
        self.hub.replaced(machine.mvcc)
        self.applied = applied
