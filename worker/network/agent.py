"""Keeps this machine's pod network as the Node objects say, whenever they or the kernel change."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import Counter, Gauge

from kube.api.core import Node
from kube.client.events import WARNING, EventRecorder
from kube.client.informer import Informer
from kube.component.log import get_logger
from worker.network import kernel, plan

log = get_logger(__name__)
CONF_NAME = "10-muster.conflist"
# A link that went down and up lost its routes without any event of ours.
RESYNC_SECONDS = 5.0
RULES_SECONDS = 30.0

SYNCS = Counter("muster_network_syncs", "Times that routes and rules were compared.", ["result"])
CHANGES = Counter("muster_network_route_changes", "Routes that were set or deleted.")
REFUSED = Gauge("muster_network_refused_ranges", "Pod ranges of nodes that are not routed.")
ROUTES = Gauge("muster_network_routes", "Routes to other machines' pods.")


class Agent:
    def __init__(
        self, nodes: Informer[Node], own_name: str, cluster_cidr: str,
        conf_dir: Path, cni_bin_dir: Path, events: EventRecorder,
    ) -> None:  # fmt: skip
        self._nodes = nodes
        self._own_name = own_name
        self._cluster_cidr = cluster_cidr
        self._conf_dir = conf_dir
        self._cni_bin_dir = cni_bin_dir
        self._events = events
        self._refused: set[plan.Refused] = set()
        self._wake = asyncio.Event()
        self._rules_due = 0.0
        self._problem: str | None = "nothing synced yet"
        nodes.add_handler(self._on_node)

    def problem(self) -> str | None:
        """For /healthz: what went wrong the last time."""
        return self._problem

    async def run(self) -> None:
        await self._nodes.wait_synced()
        while True:
            self._wake.clear()
            await self._sync_once()
            try:
                async with asyncio.timeout(RESYNC_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _sync_once(self) -> None:
        try:
            await self.sync()
        except (kernel.KernelError, OSError, TimeoutError) as error:
            SYNCS.labels("error").inc()
            if self._problem != str(error):
                log.error("network sync failed", error=str(error))
            self._problem = str(error)
        else:
            SYNCS.labels("ok").inc()
            self._problem = None

    async def sync(self) -> None:
        """Compare and repair everything once. Changes nothing when all is right."""
        if time.monotonic() >= self._rules_due:
            kernel.enable_forwarding()
            await kernel.ensure_chains(self._cluster_cidr)
            self._rules_due = time.monotonic() + RULES_SECONDS
        nodes = list(self._nodes.values())
        placed = plan.ranges(nodes, self._cluster_cidr)
        self._tell_refused(placed.refused)
        await self._sync_routes(plan.desired_routes(nodes, placed, self._own_name))
        # Last: the file is what makes the runtime, and so the node, ready for pods.
        if own := placed.given.get(self._own_name):
            self._write_conf(own[0])

    def _tell_refused(self, refused: Iterable[plan.Refused]) -> None:
        """Once for each: a log line, and an event of the node that claims the range."""
        now = set(refused)
        for one in sorted(now - self._refused):
            log.warning("pod range not routed", node=one.node, cidr=one.cidr, why=one.why)
            node = self._nodes.get(one.node)
            if node is not None:
                text = f"podCIDR {one.cidr} of node {one.node} {one.why}"
                self._events.event(node, WARNING, "FailedToCreateRoute", text)
        self._refused = now
        REFUSED.set(len(now))

    async def _sync_routes(self, desired: set[plan.Route]) -> None:
        failures = []
        for action in plan.actions(desired, await kernel.current_routes()):
            try:
                await kernel.apply(action)
                CHANGES.inc()
            except kernel.KernelError as error:
                # One machine that cannot be reached must not keep the others from being so.
                failures.append(str(error))
        ROUTES.set(sum(1 for route in desired if route.via))
        if failures:
            raise kernel.KernelError("; ".join(failures))

    def _write_conf(self, pod_cidr: str) -> None:
        conf = plan.conflist(pod_cidr, with_portmap=(self._cni_bin_dir / "portmap").exists())
        content = json.dumps(conf, indent=2) + "\n"
        path = self._conf_dir / CONF_NAME
        if path.exists() and path.read_text() == content:
            return
        self._conf_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        scratch = path.with_suffix(".new")
        scratch.write_text(content)
        scratch.rename(path)
        log.info("CNI configuration written", path=str(path), pod_cidr=pod_cidr)

    def _on_node(self, _kind: str, old: Node | None, new: Node | None) -> None:
        """Wake up for what matters; heartbeats come every few seconds and do not."""
        if _matters(old) != _matters(new):
            self._wake.set()


def _matters(node: Node | None) -> tuple[object, ...] | None:
    if node is None:
        return None
    return node.metadata.uid, node.spec.pod_cidr, node.spec.pod_cidrs, plan.internal_ip(node)
