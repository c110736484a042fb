"""The victims as the control plane sees them: heartbeats, Ready, taints."""

from __future__ import annotations

from collections.abc import Callable

from drills.events import Case, LeaseSeen, NodeSeen, Observations, first, last
from drills.phases.base import PhaseKind, victims


def _last_lease(case: Case, seen: Observations) -> float | None:
    """The victim that was heard longest before the fault: the one that is missed first."""
    return first(
        max(times)
        for name in case.victims
        if (times := [e.renewed_at for e in seen.of(LeaseSeen)
                      if e.node == name and e.renewed_at <= case.fault_at])
    )  # fmt: skip


def _every(
    case: Case, seen: Observations, since: float | None, holds: Callable[[NodeSeen], bool]
) -> float | None:
    """When the last of the victims was first seen so, after `since`."""
    if since is None:
        return None
    return last(
        first(n.at for n in seen.of(NodeSeen) if n.name == name and n.at >= since and holds(n))
        for name in case.victims
    )


def not_ready(case: Case, seen: Observations) -> float | None:
    return _every(case, seen, case.fault_at, lambda node: not node.ready)


def _tainted(case: Case, seen: Observations) -> float | None:
    return _every(case, seen, case.fault_at, lambda node: node.unreachable)


def rejoined(case: Case, seen: Observations) -> float | None:
    return _every(case, seen, case.healed_at, lambda node: node.ready)


def _untainted(case: Case, seen: Observations) -> float | None:
    return _every(case, seen, case.healed_at, lambda node: node.ready and not node.unreachable)


LAST_LEASE = PhaseKind(
    "last_lease", "last heartbeat (Lease renewed)",
    "spec.renewTime of the victim's Lease in kube-node-lease", _last_lease, victims,
    ("leases",),
)  # fmt: skip
NOT_READY = PhaseKind(
    "not_ready", "node NotReady", "the Node's condition Ready is no longer True", not_ready,
    victims, ("nodes",),
)  # fmt: skip
TAINTED = PhaseKind(
    "tainted", "node tainted unreachable:NoExecute",
    "the Node carries node.kubernetes.io/unreachable:NoExecute", _tainted, observers=("nodes",),
)  # fmt: skip
REJOINED = PhaseKind(
    "rejoined", "node Ready again", "the Node's condition Ready is True after the undo", rejoined,
    victims, ("nodes",), after_heal=True,
)  # fmt: skip
UNTAINTED = PhaseKind(
    "untainted", "taint removed", "the Node is Ready and without the unreachable taint",
    _untainted, observers=("nodes",), after_heal=True,
)  # fmt: skip
