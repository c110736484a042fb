"""Every timer that decides how fast a lab notices and heals, in one place.

Two profiles: `kubernetes` keeps upstream's defaults; `fast` shortens detection and eviction
so that a drill takes seconds. The provisioner turns a profile into flags of the components,
and drills predict the failover time from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timers:
    """All values are seconds. Names follow the upstream flags."""

    node_lease_duration: float
    node_lease_renew_interval: float
    node_status_update_frequency: float
    node_monitor_period: float
    node_monitor_grace_period: float
    node_startup_grace_period: float
    default_not_ready_toleration: int
    default_unreachable_toleration: int
    eviction_pressure_transition_period: float
    leader_elect_lease_duration: float
    leader_elect_renew_deadline: float
    leader_elect_retry_period: float

    def predicted_detection(self) -> float:
        """Worst case from the fault to the node's condition turning Unknown.

        The last heartbeat may have been sent a moment before the fault, and the monitor looks
        only once a period.
        """
        return self.node_monitor_grace_period + self.node_monitor_period

    def predicted_eviction(self) -> float:
        """Worst case from the fault to the deletion of the dead node's pods."""
        return self.predicted_detection() + self.default_unreachable_toleration


KUBERNETES = Timers(
    node_lease_duration=40,
    node_lease_renew_interval=10,
    node_status_update_frequency=10,
    node_monitor_period=5,
    node_monitor_grace_period=50,
    node_startup_grace_period=60,
    default_not_ready_toleration=300,
    default_unreachable_toleration=300,
    eviction_pressure_transition_period=300,
    leader_elect_lease_duration=15,
    leader_elect_renew_deadline=10,
    leader_elect_retry_period=2,
)

# A component that is started again, also on a machine with four times as much to do as it has
# processors, is back within these: the grace leaves five seconds after a missed renewal before a
# node is taken for dead, and whoever leads goes on leading over a restart of the store. The drill's
# ten seconds from a machine's death to its pods' replacements hold.
FAST = Timers(
    node_lease_duration=5,
    node_lease_renew_interval=1,
    node_status_update_frequency=2,
    node_monitor_period=0.5,
    node_monitor_grace_period=6,
    node_startup_grace_period=15,
    default_not_ready_toleration=1,
    default_unreachable_toleration=1,
    eviction_pressure_transition_period=30,
    leader_elect_lease_duration=7,
    leader_elect_renew_deadline=5,
    leader_elect_retry_period=0.5,
)

PROFILES = {"fast": FAST, "kubernetes": KUBERNETES}
