"""`/healthz` and `/livez` on plain HTTP, with kube-proxy's answers.

A load balancer asks `/healthz` whether to send traffic to this node; `/livez` is about the
process alone. The judgement is pure; `health_app` is its thin shell.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import Counter

from muster.api.core import Node
from worker.proxy.metrics import HEALTHZ, LIVEZ

# The cluster autoscaler taints a node that it is about to delete.
_DOOMED_TAINT = "ToBeDeletedByClusterAutoscaler"


@dataclass(slots=True)
class Health:
    """Bad when a queued change waits for its rules longer than `patience` seconds."""

    patience: float
    last_updated: float = 0.0  # wall clock; 0 = never
    queued_since: float = 0.0  # wall clock of the oldest change that waits; 0 = none
    node_eligible: bool = True

    def queued(self, now: float) -> None:
        self.queued_since = self.queued_since or now

    def updated(self, now: float, *, still_queued: bool = False) -> None:
        self.last_updated = now
        self.queued_since = now if still_queued else 0.0

    def healthy(self, now: float) -> bool:
        if not self.last_updated:
            return False
        return not self.queued_since or now - self.queued_since < self.patience

    def report(self, now: float) -> dict[str, object]:
        return {
            "lastUpdated": _stamp(self.last_updated),
            "currentTime": _stamp(now),
            "nodeEligible": self.node_eligible,
        }


def eligible(node: Node | None) -> bool:
    """A node that is being deleted takes no new connections from load balancers."""
    if node is None:
        return True
    doomed = any(taint.key == _DOOMED_TAINT for taint in node.spec.taints)
    return not node.metadata.deletion_timestamp and not doomed


def health_app(health: Health, clock: Callable[[], float]) -> web.Application:
    def answer(well: bool, counter: Counter) -> web.Response:
        code = 200 if well else 503
        counter.labels(code=str(code)).inc()
        return web.Response(
            status=code,
            text=json.dumps(health.report(clock())),
            content_type="application/json",
            headers={"X-Content-Type-Options": "nosniff"},
        )

    async def healthz(_: web.Request) -> web.Response:
        return answer(health.healthy(clock()) and health.node_eligible, HEALTHZ)

    async def livez(_: web.Request) -> web.Response:
        return answer(health.healthy(clock()), LIVEZ)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/livez", livez)
    return app


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
