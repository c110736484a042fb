"""The nodes' heartbeats."""

from __future__ import annotations

import time
from datetime import datetime

from drills.events import LeaseSeen
from drills.observers.base import Scope, follow
from kube.api.coordination import Lease


async def watch(scope: Scope) -> None:
    def note(lease: Lease, gone: bool) -> None:
        if not gone and lease.spec.renew_time:
            renewed = datetime.fromisoformat(lease.spec.renew_time).timestamp()
            scope.seen.note(LeaseSeen(time.time(), lease.metadata.name, renewed))

    await follow(scope.client, Lease, note, "kube-node-lease")
