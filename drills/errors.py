"""What keeps a drill from running, and what goes wrong while one runs."""

from __future__ import annotations

from provision.errors import MachinesFailed, ProvisionError


class NothingRan(ProvisionError):
    """The drill could not start: the steady state does not hold, or there is no workload."""

    exit_code = 2


class DrillNotFound(ProvisionError):
    """No drill of that name is in the catalog."""

    exit_code = 2


class FaultFailed(MachinesFailed):
    """A fault could not be injected; what it had done by then is undone."""


class HealFailed(MachinesFailed):
    """Something is still broken after every try to undo it; the journal keeps what is left."""
