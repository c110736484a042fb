"""The control plane's own recovery: the store's leader, and the components' leader Leases."""

from __future__ import annotations

from drills.events import Case, LeaderSeen, Observations, StoreSeen, first, last
from drills.phases.base import Detail, Mark, PhaseKind

SCHEDULER, CONTROLLERS = "kube-scheduler", "kube-controller-manager"


def _lost(case: Case, seen: Observations) -> float | None:
    """No member that answers leads, for the first time after the fault."""
    leads: dict[str, bool] = {}
    for event in seen.of(StoreSeen):
        leads[event.member] = event.leads
        if event.at >= case.fault_at and not any(leads.values()):
            return event.at
    return None


def _elected(case: Case, seen: Observations) -> float | None:
    """Another leads, or the old one after nobody did. One that is cut off may still claim to."""
    before = [e.member for e in seen.of(StoreSeen) if e.leads and e.at < case.fault_at]
    lost = _lost(case, seen)
    return first(
        e.at
        for e in seen.of(StoreSeen)
        if e.leads and e.at >= case.fault_at
        and (e.member not in before[-1:] or (lost is not None and e.at >= lost))
    )  # fmt: skip


def _new_leader(case: Case, seen: Observations) -> str:
    since = _elected(case, seen)
    return next((e.member for e in seen.of(StoreSeen) if e.leads and e.at == since), "")


def _members_back(case: Case, seen: Observations) -> float | None:
    """Every member of a victim answers again, and knows a leader."""
    on = case.healed_at if case.healed_at is not None else case.fault_at
    members = {e.member for e in seen.of(StoreSeen)} & set(case.victims)
    return last(
        first(e.at for e in seen.of(StoreSeen) if e.member == m and e.at >= on and e.has_leader)
        for m in members
    )


def _taken_over(lease: str) -> Mark:
    def mark(case: Case, seen: Observations) -> float | None:
        held = [e for e in seen.of(LeaderSeen) if e.lease == lease]
        before = [e.holder for e in held if e.at < case.fault_at]
        if not before:
            return None
        return first(
            e.at for e in held if e.at >= case.fault_at and e.holder and e.holder != before[-1]
        )

    return mark


def _holder(lease: str) -> Detail:
    def detail(case: Case, seen: Observations) -> str:
        at = _taken_over(lease)(case, seen)
        held = [e for e in seen.of(LeaderSeen) if e.lease == lease and e.at == at]
        return held[0].holder if held else ""

    return detail


LOST = PhaseKind(
    "store_leader_lost", "store without a leader",
    "etcd_server_is_leader of every member that answers", _lost, observers=("store",),
)  # fmt: skip
ELECTED = PhaseKind(
    "store_leader_elected", "store's leader elected", "etcd_server_is_leader of a member",
    _elected, _new_leader, ("store",),
)  # fmt: skip
MEMBERS_BACK = PhaseKind(
    "members_back", "store's members back", "etcd_server_has_leader of each member that was hit",
    _members_back, observers=("store",), after_heal=True,
)  # fmt: skip
SCHEDULER_MOVED = PhaseKind(
    "scheduler_taken_over", "scheduler's lease taken over",
    f"spec.holderIdentity of Lease kube-system/{SCHEDULER}", _taken_over(SCHEDULER),
    _holder(SCHEDULER), ("leaders",),
)  # fmt: skip
CONTROLLERS_MOVED = PhaseKind(
    "controllers_taken_over", "controller-manager's lease taken over",
    f"spec.holderIdentity of Lease kube-system/{CONTROLLERS}", _taken_over(CONTROLLERS),
    _holder(CONTROLLERS), ("leaders",),
)  # fmt: skip
