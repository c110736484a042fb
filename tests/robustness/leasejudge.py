"""Leases: keys stay until the TTL after the last keep-alive that was answered, and then go."""

from __future__ import annotations

from collections import defaultdict

from tests.robustness.effects import Effects
from tests.robustness.history import Op, Run
from tests.robustness.revisions import Revisions

_CLOCK_SECONDS = 0.01  # between reading the clock twice


def lease_problems(run: Run, history: Revisions, effects: Effects) -> list[str]:
    requests: dict[int, list[Op]] = defaultdict(list)
    for op in run.ops:
        if op.lease:
            requests[op.lease].append(op)
    gone_by = _latest_times(run, history, effects)
    problems = []
    for lease, ops in requests.items():
        ends = effects.lease_ends.get(lease, [])
        if len(ends) > 1:
            problems.append(f"lease {lease:x}: its keys went in several revisions, {ends}")
        if ends:
            problems += _early(lease, ops, ends[0], gone_by[ends[0]])
        problems += _revoked(lease, ops, history)
        problems += _left(lease, history, run.final_revision)
    return problems


def _latest_times(run: Run, history: Revisions, effects: Effects) -> dict[int, float]:
    """When each end of a lease had happened at the latest: somebody saw it, or what follows."""
    ends = sorted({revision for revisions in effects.lease_ends.values() for revision in revisions})
    seen = sorted((r, at) for r, at in history.seen_at.items())
    seen += [(op.revision, op.end) for op in run.ops if op.answered and op.end is not None]
    return {revision: min(at for reached, at in seen if reached >= revision) for revision in ends}


def _early(lease: int, ops: list[Op], revision: int, gone_by: float) -> list[str]:
    if any(op.kind == "revoke" and not op.refused and op.call < gone_by for op in ops):
        return []
    problems = []
    for op in ops:
        if op.kind in ("grant", "renew") and op.answered and op.ttl > 0:
            left = op.call + op.ttl - gone_by
            if left > _CLOCK_SECONDS:
                problems.append(
                    f"lease {lease:x}: its keys went at revision {revision}, "
                    f"{left:.3f} s too early after request {op.id} ({op.kind} at {op.member})"
                )
    return problems


def _revoked(lease: int, ops: list[Op], history: Revisions) -> list[str]:
    for op in ops:
        if op.kind == "revoke" and op.answered:
            held = [k for k in history.keys if _holds(history, k, op.revision, lease)]
            if held:
                return [f"lease {lease:x}: {held} are there after it was revoked"]
    return []


def _left(lease: int, history: Revisions, final_revision: int) -> list[str]:
    held = [key for key in history.keys if _holds(history, key, final_revision, lease)]
    return [f"lease {lease:x}: {held} never went"] if held else []


def _holds(history: Revisions, key: str, revision: int, lease: int) -> bool:
    event = history.at(key, revision)
    return event is not None and event.lease == lease
