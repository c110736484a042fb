"""What a drill watches: nodes, leases, the workload's pods and endpoints, each node's rules.

Every event is stamped when it reaches this host. Watches end with the block.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import aiohttp

from muster.api import selectors
from muster.api.coordination import Lease
from muster.api.core import Node, Pod
from muster.api.discovery import EndpointSlice
from muster.api.errors import StatusError
from muster.api.scheme import ApiObject
from muster.client.client import Client
from muster.component.log import get_logger
from muster.component.tls import client_context
from provision.drills import timeline
from provision.drills.lab import DrillLab
from provision.drills.workload import Workload

log = get_logger(__name__)
T = TypeVar("T", bound=ApiObject)
# Takes an object and whether it is gone.
Note = Callable[[T, bool], None]
RULES_POLL_SECONDS = 0.1
UNREACHABLE = "node.kubernetes.io/unreachable"
LAST_SYNC = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"


@dataclass(slots=True)
class Seen:
    """All that was observed, in order of arrival; `changed` is set at every addition."""

    leases: list[timeline.LeaseSeen] = field(default_factory=list)
    nodes: list[timeline.NodeSeen] = field(default_factory=list)
    pods: list[timeline.PodSeen] = field(default_factory=list)
    endpoints: list[timeline.EndpointsSeen] = field(default_factory=list)
    rules: list[timeline.RulesSeen] = field(default_factory=list)
    requests: list[timeline.Request] = field(default_factory=list)

    def frozen(self) -> timeline.Observations:
        return timeline.Observations(
            tuple(self.leases),
            tuple(self.nodes),
            tuple(self.pods),
            tuple(self.endpoints),
            tuple(self.rules),
            tuple(self.requests),
        )


class Observer:
    def __init__(self, lab: DrillLab, client: Client, workload: Workload) -> None:
        self._lab = lab
        self._client = client
        self._workload = workload
        self._slices: dict[str, frozenset[str]] = {}
        self.seen = Seen()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Seen]:
        """Watch everything while the block runs."""
        namespace = self._workload.namespace
        selector = selectors.format_labels(self._workload.selector)
        service = f"kubernetes.io/service-name={self._workload.service}"
        loops = [
            self._follow(Node, self._node),
            self._follow(Lease, self._lease, "kube-node-lease"),
            self._follow(Pod, self._pod, namespace, selector),
            self._follow(EndpointSlice, self._slice, namespace, service),
            *(self._rules(m.name, m.address) for m in self._lab.spec.machines),
        ]
        tasks = [asyncio.create_task(loop, name="observe") for loop in loops]
        try:
            yield self.seen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(
        self, type_: type[T], note: Note[T], namespace: str = "", label_selector: str = ""
    ) -> None:
        """List, then watch; again from the list whenever the watch ends."""
        while True:
            try:
                listing = await self._client.list(type_, namespace, label_selector)
                for obj in listing.items:
                    note(obj, False)
                async for event in self._client.watch(
                    type_, namespace, listing.resource_version, label_selector
                ):
                    if event.type != "BOOKMARK":
                        note(event.object, event.type == "DELETED")
            except (StatusError, OSError) as error:
                log.debug("watch ended", kind=type_.__name__, error=str(error))
            await asyncio.sleep(0.1)

    def _node(self, node: Node, gone: bool) -> None:
        ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
        tainted = any(t.key == UNREACHABLE and t.effect == "NoExecute" for t in node.spec.taints)
        self.seen.nodes.append(
            timeline.NodeSeen(time.time(), node.metadata.name, ready and not gone, tainted)
        )

    def _lease(self, lease: Lease, gone: bool) -> None:
        if not gone and lease.spec.renew_time:
            renewed = datetime.fromisoformat(lease.spec.renew_time).timestamp()
            self.seen.leases.append(timeline.LeaseSeen(time.time(), lease.metadata.name, renewed))

    def _pod(self, pod: Pod, gone: bool) -> None:
        statuses = pod.status.container_statuses
        running = bool(statuses) and all(s.state and s.state.running for s in statuses)
        ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
        self.seen.pods.append(
            timeline.PodSeen(
                at=time.time(),
                uid=pod.metadata.uid,
                name=pod.metadata.name,
                node=pod.spec.node_name,
                deleting=bool(pod.metadata.deletion_timestamp),
                running=running and pod.status.phase == "Running",
                ready=ready,
                gone=gone,
            )
        )

    def _slice(self, slice_: EndpointSlice, gone: bool) -> None:
        ready = frozenset(
            endpoint.target_ref.uid
            for endpoint in slice_.endpoints
            if endpoint.target_ref and endpoint.conditions and endpoint.conditions.ready
        )
        self._slices[slice_.metadata.name] = frozenset() if gone else ready
        together = frozenset[str]().union(*self._slices.values())
        self.seen.endpoints.append(timeline.EndpointsSeen(time.time(), together))

    async def _rules(self, name: str, address: str) -> None:
        """Ask one node's kube-proxy again and again when it last synced."""
        url = f"https://{address}:10249/metrics"
        timeout = aiohttp.ClientTimeout(total=1.0)
        context = client_context(self._lab.monitoring)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            last = 0.0
            while True:
                try:
                    async with session.get(url, ssl=context) as response:
                        synced = sample(await response.text(), LAST_SYNC)
                    if synced is not None and synced > last:
                        last = synced
                        self.seen.rules.append(timeline.RulesSeen(time.time(), name, synced))
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    log.debug("proxy not answering", node=name, error=str(error))
                await asyncio.sleep(RULES_POLL_SECONDS)


def sample(exposition: str, metric: str) -> float | None:
    """The value of an unlabelled (or the first labelled) sample in Prometheus text."""
    for line in exposition.splitlines():
        if line.startswith(metric) and line[len(metric) :][:1] in (" ", "{"):
            return float(line.rsplit(" ", 1)[1])
    return None


def nodes_not_ready(nodes: Sequence[Node]) -> list[str]:
    return [
        node.metadata.name
        for node in nodes
        if not any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
    ]
