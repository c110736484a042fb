"""What the health ports answer: kube-proxy's words. Pure; `healthports` serves them.

A load balancer asks `/healthz` whether to send traffic to this node; `/livez` is about the
process alone. Of a Service with externalTrafficPolicy Local it asks the service's own health
check port, and sends traffic only to nodes that answer 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kube.api.core import Node
from worker.proxy.rendered import RenderedService

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


@dataclass(frozen=True, slots=True)
class Check:
    """One port to answer on, and for whom."""

    port: int
    namespace: str
    service: str


def checks_of(services: Mapping[str, RenderedService[Any]]) -> dict[Check, int]:
    """The number of local endpoints per health check port."""
    counts: dict[Check, int] = {}
    for service in services.values():
        for port, target in zip(service.ports, service.targets, strict=True):
            if port.health_check_node_port and port.external_local:
                check = Check(port.health_check_node_port, port.namespace, port.service)
                # A pod counts once, whatever the number of ports.
                counts[check] = max(counts.get(check, 0), len(target.local))
    return counts


def answer(check: Check, local: int, proxy_healthy: bool) -> tuple[int, dict[str, object]]:
    body: dict[str, object] = {
        "service": {"namespace": check.namespace, "name": check.service},
        "localEndpoints": local,
        "serviceProxyHealthy": proxy_healthy,
    }
    return (200 if local and proxy_healthy else 503), body


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
