"""Who holds the leader's Leases of scheduler and controller-manager."""

from __future__ import annotations

import time

from drills.events import LeaderSeen
from drills.observers.base import Scope, follow
from kube.api.coordination import Lease


async def watch(scope: Scope) -> None:
    held: dict[str, str] = {}

    def note(lease: Lease, gone: bool) -> None:
        holder = "" if gone else (lease.spec.holder_identity or "")
        # Renewals by the same holder are no news.
        if held.get(lease.metadata.name) != holder:
            held[lease.metadata.name] = holder
            scope.seen.note(LeaderSeen(time.time(), lease.metadata.name, holder))

    await follow(scope.client, Lease, note, "kube-system")
