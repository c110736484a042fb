"""The node-lifecycle controller: watches heartbeats, marks and taints nodes that went silent.

A monitor pass looks at every node each period, and sooner when a deadline falls in between.
Everything that follows from a node's conditions (taints, its pods' readiness) is level
triggered by the node's key.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
from dataclasses import dataclass

import msgspec
from prometheus_client import Counter, Gauge, Histogram

from kube.api.coordination import Lease
from kube.api.core import Node, NodeCondition, Pod, PodCondition, Taint
from kube.client.events import NORMAL, WARNING
from kube.component.log import get_logger
from kube.machinery.errors import Conflict, NotFound, StatusError
from master.controllers.machinery import pods as podstate
from master.controllers.machinery.controller import Context, Controller, Maker
from master.controllers.nodes import node_health as health

log = get_logger(__name__)
LEASE_NAMESPACE = "kube-node-lease"
# A pause this much longer than asked for means that this process did not run.
STALL_SECONDS = 0.25

EVICTIONS = Counter("node_collector_evictions_total", "Nodes whose pods were evicted.", ["zone"])
ZONE_HEALTH = Gauge("node_collector_zone_health", "Percent of healthy nodes.", ["zone"])
ZONE_SIZE = Gauge("node_collector_zone_size", "Registered nodes.", ["zone"])
UNHEALTHY = Gauge("node_collector_unhealthy_nodes_in_zone", "Nodes not ready.", ["zone"])
ALL_DURATION = Histogram(
    "node_collector_update_all_nodes_health_duration_seconds", "One look at all nodes."
)
NODE_DURATION = Histogram(
    "node_collector_update_node_health_duration_seconds", "One look at one node."
)


@dataclass(frozen=True, slots=True)
class Options:
    """Upstream's flags of the same names, in seconds and nodes per second."""

    node_monitor_period: float = 5.0
    node_monitor_grace_period: float = 50.0
    node_startup_grace_period: float = 60.0
    node_eviction_rate: float = 0.1
    secondary_node_eviction_rate: float = 0.01
    large_cluster_size_threshold: int = 50
    unhealthy_zone_threshold: float = 0.55


class NodeLifecycleController(Controller):
    name = "node_lifecycle_controller"
    event_source = "node-controller"

    def __init__(self, context: Context, options: Options) -> None:
        super().__init__(context)
        self._options = options
        self._quick = self.client.with_timeout(1.0)
        self._health: dict[str, health.Health] = {}
        self._states: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._buckets: dict[str, health.Bucket] = {}
        self._disrupted = False
        self.nodes = self.informers.of(Node)
        self.leases = self.informers.of(Lease)
        self.pods = self.informers.of(Pod)
        self.pods.add_index("nodelifecycle/node", lambda pod: [pod.spec.node_name])
        self.nodes.add_handler(self._on_node)
        self.leases.add_handler(self._on_lease)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        for option in dataclasses.fields(Options):
            flag, default = "--" + option.name.replace("_", "-"), option.default
            parser.add_argument(flag, type=type(default), default=default, metavar="N")

    @classmethod
    def from_flags(cls, args: argparse.Namespace) -> Maker | None:
        given = {option.name: getattr(args, option.name) for option in dataclasses.fields(Options)}
        return lambda context: cls(context, Options(**given))

    # -- events

    def _on_node(self, kind: str, old: Node | None, new: Node | None) -> None:
        if new is None:
            assert old is not None
            self._health.pop(old.metadata.name, None)
            text = (
                f"Node {old.metadata.name} event: Removing Node {old.metadata.name} from Controller"
            )
            self.recorder.event(old, NORMAL, "RemovingNode", text)
            return
        self._observe(new)
        if old is None and self.informers.synced:
            text = (
                f"Node {new.metadata.name} event: Registered Node {new.metadata.name} in Controller"
            )
            self.recorder.event(new, NORMAL, "RegisteredNode", text)
        if old is None or _moved(old, new):
            self.queue.add(new.metadata.name)

    def _on_lease(self, kind: str, old: Lease | None, new: Lease | None) -> None:
        if new is None or new.metadata.namespace != LEASE_NAMESPACE:
            return
        node = self.nodes.get(new.metadata.name)
        if node is not None:
            self._observe(node)

    def _observe(self, node: Node) -> None:
        name = node.metadata.name
        lease = self.leases.get(f"{LEASE_NAMESPACE}/{name}")
        known = self._health.get(name)
        self._health[name] = health.observe(known, node, lease, _clock())

    # -- the monitor

    async def run(self) -> None:
        await self.informers.wait_synced()
        # Silence from before this process led does not count: the grace starts now.
        self._restart_grace()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().run(), name="node lifecycle workers")
            tasks.create_task(self._monitor(), name="node monitor")

    def _restart_grace(self) -> None:
        now = _clock()
        for name, known in self._health.items():
            self._health[name] = dataclasses.replace(known, probed=now)

    async def _monitor(self) -> None:
        blind = False
        while True:
            began = _clock()
            if not (self.nodes.watching and self.leases.watching):
                blind = True
            else:
                if blind:
                    self._settle()
                    blind = False
                await self._monitor_once()
                ALL_DURATION.observe(_clock() - began)
            pause = self._until_next_look()
            began = _clock()
            await asyncio.sleep(pause)
            # Stalled ourselves: what the nodes sent meanwhile has yet to be read.
            blind = blind or _clock() - began > pause + STALL_SECONDS

    def _settle(self) -> None:
        """After blindness, live nodes get a third of the grace to show that they are alive."""
        earliest = _clock() - self._options.node_monitor_grace_period * 2 / 3
        for name, known in self._health.items():
            self._health[name] = dataclasses.replace(known, probed=max(known.probed, earliest))

    def _until_next_look(self) -> float:
        """The period, or less when a node's deadline falls into it."""
        now, period = _clock(), self._options.node_monitor_period
        waits = [due - now for node in self.nodes.values() if (due := self._deadline(node)) > now]
        return max(0.01, min([period, *waits]))

    def _deadline(self, node: Node) -> float:
        options = self._options
        known = self._health.get(node.metadata.name) or health.Health(probed=_clock())
        return health.deadline(
            node, known, options.node_monitor_grace_period, options.node_startup_grace_period
        )

    async def _monitor_once(self) -> None:
        await asyncio.gather(*(self._look_at(node) for node in self.nodes.values()))
        self._judge_zones()

    async def _look_at(self, node: Node) -> None:
        began = _clock()
        if node.metadata.name not in self._health:
            self._observe(node)
        if began >= self._deadline(node):
            conditions = health.lost_conditions(node, self.now())
            if conditions is not None and await self._is_silent(node):
                await self._write_lost(node, conditions)
        NODE_DURATION.observe(_clock() - began)

    async def _is_silent(self, node: Node) -> bool:
        """A live look at the lease: a frozen api-server makes every node look silent, and
        takes seconds to be noticed. Whoever cannot look cannot judge."""
        name = node.metadata.name
        lease: Lease | None
        try:
            lease = await self._quick.get(Lease, name, LEASE_NAMESPACE)
        except NotFound:
            lease = None
        except StatusError as error:
            log.warning("lease not read", node=name, error=str(error))
            return False
        self._health[name] = health.observe(self._health.get(name), node, lease, _clock())
        return _clock() >= self._deadline(node)

    async def _write_lost(self, node: Node, conditions: tuple[NodeCondition, ...]) -> None:
        status = msgspec.structs.replace(node.status, conditions=conditions)
        name = node.metadata.name
        try:
            await self.client.update_status(msgspec.structs.replace(node, status=status))
        except StatusError as error:
            log.warning("node not marked lost", node=name, error=str(error))
            return
        log.info("node lost", node=name, grace=self._options.node_monitor_grace_period)
        # The taints follow from the node's own event, a round trip later.

    def _judge_zones(self) -> None:
        """Zone states and metrics; leaving a full disruption gives everybody a new grace."""
        zones: dict[str, list[Node]] = {}
        for node in self.nodes.values():
            zones.setdefault(health.zone_of(node), []).append(node)
        threshold = self._options.unhealthy_zone_threshold
        self._states = {zone: health.zone_state(ns, threshold) for zone, ns in zones.items()}
        self._sizes = {zone: len(nodes) for zone, nodes in zones.items()}
        for zone, nodes in zones.items():
            lost = sum(not health.is_ready(node) for node in nodes)
            ZONE_SIZE.labels(zone=zone).set(len(nodes))
            UNHEALTHY.labels(zone=zone).set(lost)
            ZONE_HEALTH.labels(zone=zone).set(100.0 * (len(nodes) - lost) / len(nodes))
        disrupted = bool(self._states) and set(self._states.values()) == {health.FULL}
        if disrupted != self._disrupted:
            self._disrupted = disrupted
            log.warning("full disruption", active=disrupted, nodes=len(self.nodes.store))
            if not disrupted:
                self._restart_grace()
            for name in self.nodes.store:
                self.queue.add(name)

    # -- what follows from a node's conditions

    async def reconcile(self, key: str) -> None:
        node = self.nodes.get(key)
        if node is None:
            return
        if not health.is_ready(node):
            self._judge_zones()
        node = await self._taint(node)
        ready = health.condition(node, "Ready")
        if ready is not None and ready.status != "True":
            await self._mark_pods(node)

    async def _taint(self, node: Node) -> Node:
        evict = health.wants_eviction(node) and self._may_evict(node)
        bare = node
        if self._disrupted:
            # Nobody is left to judge by: more likely it is us who are cut off.
            taints = tuple(t for t in node.spec.taints if not _evicts(t))
            bare = msgspec.structs.replace(
                node, spec=msgspec.structs.replace(node.spec, taints=taints)
            )
        wanted = health.wanted_taints(bare, evict=evict, now=self.now())
        if wanted == node.spec.taints:
            return node
        spec = msgspec.structs.replace(node.spec, taints=wanted)
        try:
            written = await self.client.update(msgspec.structs.replace(node, spec=spec))
        except StatusError:
            if evict:  # nothing was spent: the next try must not wait for a new token
                self._buckets[health.zone_of(node)] = health.Bucket(at=_clock())
            raise
        keys = sorted(f"{taint.key}:{taint.effect}" for taint in wanted)
        log.info("node tainted", node=node.metadata.name, taints=",".join(keys))
        if evict:
            EVICTIONS.labels(zone=health.zone_of(node)).inc()
        return written

    def _may_evict(self, node: Node) -> bool:
        """Take a token of the node's zone; without one the key comes back when it is due."""
        if self._disrupted:
            return False
        zone, options = health.zone_of(node), self._options
        rate = health.eviction_rate(
            self._states.get(zone, health.NORMAL),
            self._sizes.get(zone, 0),
            options.node_eviction_rate,
            options.secondary_node_eviction_rate,
            options.large_cluster_size_threshold,
        )
        bucket, allowed = self._buckets.get(zone, health.Bucket()).take(rate, _clock())
        self._buckets[zone] = bucket
        if not allowed:
            self.queue.add_after(node.metadata.name, min(bucket.wait(rate) + 0.01, 5.0))
        return allowed

    async def _mark_pods(self, node: Node) -> None:
        """Ready is False for every pod there: endpoints must not send anybody to them."""
        ready = [
            pod
            for pod in self.pods.by_index("nodelifecycle/node", node.metadata.name)
            if podstate.is_ready(pod)
        ]
        if not ready:
            return
        text = f"Node {node.metadata.name} status is now: NodeNotReady"
        self.recorder.event(node, NORMAL, "NodeNotReady", text)
        await self.all_of(self._mark_pod(pod) for pod in ready)

    async def _mark_pod(self, pod: Pod) -> None:
        self.recorder.event(pod, WARNING, "NodeNotReady", "Node is not ready")
        not_ready = PodCondition(type="Ready", status="False")
        for _ in range(3):
            marked = podstate.with_condition(pod, not_ready, self.now())
            try:
                await self.client.update_status(marked)
                return
            except NotFound:
                return
            except Conflict:
                meta = pod.metadata
                try:
                    pod = await self.client.get(Pod, meta.name, meta.namespace)
                except NotFound:
                    return
        raise Conflict(f'pod "{pod.metadata.namespace}/{pod.metadata.name}" keeps changing')


def _evicts(taint: Taint) -> bool:
    return taint.effect == "NoExecute" and taint.key in (health.NOT_READY, health.UNREACHABLE)


def _moved(old: Node, new: Node) -> bool:
    """Whether anything changed that taints follow from; a mere heartbeat does not."""
    return _cause(old) != _cause(new)


def _cause(node: Node) -> tuple[object, ...]:
    states = {c.type: c.status for c in node.status.conditions}
    return states, node.spec.taints, node.spec.unschedulable


def _clock() -> float:
    return asyncio.get_running_loop().time()
