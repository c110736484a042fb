"""The pod-garbage-collector: pods that nobody else will ever clean up.

Too many finished pods, pods of nodes that are gone for good, pods that are deleting and
were never scheduled, and those on nodes that the user declared out of service.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from prometheus_client import Counter

from kube.api.core import Node, Pod, PodCondition
from kube.component.log import get_logger
from kube.machinery.errors import Conflict, NotFound, StatusError
from kube.machinery.scheme import key_of
from master.controllers.machinery.controller import Context, Controller, Maker
from master.controllers.machinery.pods import is_deleting, is_finished, with_condition
from master.controllers.nodes.node_health import is_ready

log = get_logger(__name__)
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
PERIOD_SECONDS = 20.0
# A node may be seen late: its pods are orphans only after it was missing this long.
QUARANTINE_SECONDS = 40.0
DELETIONS = Counter(
    "pod_gc_collector_force_delete_pods_total", "Pods deleted by force.", ["namespace", "reason"]
)


@dataclass(frozen=True, slots=True)
class Doomed:
    pod: Pod
    reason: str  # upstream's label values: terminated, out-of-service, orphaned, unscheduled
    message: str = ""


def plan(
    pods: Sequence[Pod], nodes: Mapping[str, Node], gone: Collection[str], threshold: int
) -> list[Doomed]:
    """`gone` are node names that have been missing for the whole quarantine."""
    found: dict[str, Doomed] = {}
    for pod in pods:
        if doomed := _judge(pod, nodes, gone):
            found[pod.metadata.uid] = doomed
    for pod in _excess(pods, threshold):
        found.setdefault(pod.metadata.uid, Doomed(pod, "terminated"))
    return list(found.values())


def _judge(pod: Pod, nodes: Mapping[str, Node], gone: Collection[str]) -> Doomed | None:
    name = pod.spec.node_name
    if not name:
        return Doomed(pod, "unscheduled") if is_deleting(pod) else None
    if name in gone:
        return Doomed(pod, "orphaned", "PodGC: node no longer exists")
    node = nodes.get(name)
    if node is not None and is_deleting(pod) and not is_ready(node) and _out_of_service(node):
        return Doomed(pod, "out-of-service")
    return None


def _out_of_service(node: Node) -> bool:
    return any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints)


def _excess(pods: Sequence[Pod], threshold: int) -> list[Pod]:
    """The oldest finished pods beyond the threshold; 0 or less keeps all."""
    if threshold <= 0:
        return []
    finished = [pod for pod in pods if is_finished(pod) and not is_deleting(pod)]
    finished.sort(key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))
    return finished[: max(0, len(finished) - threshold)]


class PodGcController(Controller):
    name = "pod_gc"

    def __init__(self, context: Context, terminated_threshold: int) -> None:
        super().__init__(context)
        self._threshold = terminated_threshold
        self._missing: dict[str, float] = {}
        self._wake = asyncio.Event()
        self.pods = self.informers.of(Pod)
        self.nodes = self.informers.of(Node)
        self.nodes.add_handler(self._on_node)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--terminated-pod-gc-threshold", type=int, default=12500, metavar="PODS",
            help="more finished pods than this are deleted, the oldest first; 0: none",
        )  # fmt: skip

    @classmethod
    def from_flags(cls, args: argparse.Namespace) -> Maker | None:
        return lambda context: cls(context, args.terminated_pod_gc_threshold)

    def _on_node(self, kind: str, old: Node | None, new: Node | None) -> None:
        if new is None or _out_of_service(new):
            self._wake.set()

    async def run(self) -> None:
        await self.informers.wait_synced()
        while True:
            self._wake.clear()
            await self._collect()
            try:
                async with asyncio.timeout(PERIOD_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _collect(self) -> None:
        doomed = plan(self.pods.values(), self.nodes.store, await self._gone(), self._threshold)
        for item in doomed:
            try:
                await self._delete(item)
            except (NotFound, Conflict):
                continue  # gone, or changed: the next round judges it afresh
            except StatusError as error:
                log.warning("pod not collected", pod=key_of(item.pod), error=str(error))

    async def _gone(self) -> set[str]:
        """Nodes named by pods that have been missing for the quarantine, by a live look."""
        now = asyncio.get_running_loop().time()
        named = {pod.spec.node_name for pod in self.pods.values() if pod.spec.node_name}
        missing = {name for name in named if name not in self.nodes.store}
        self._missing = {name: self._missing.get(name, now) for name in missing}
        ripe = {n for n, since in self._missing.items() if now - since >= QUARANTINE_SECONDS}
        return {name for name in ripe if await self._is_gone(name)}

    async def _is_gone(self, name: str) -> bool:
        try:
            await self.client.get(Node, name)
        except NotFound:
            return True
        except StatusError:
            return False
        return False

    async def _delete(self, item: Doomed) -> None:
        pod = item.pod
        if not is_finished(pod):
            pod = await self._fail(pod, item.message)
        meta = pod.metadata
        log.info("pod collected", pod=key_of(pod), reason=item.reason)
        await self.client.delete(
            Pod, meta.name, meta.namespace, uid=meta.uid, grace_period_seconds=0
        )
        DELETIONS.labels(namespace=meta.namespace, reason=item.reason).inc()

    async def _fail(self, pod: Pod, message: str) -> Pod:
        """A pod that vanishes has failed: whoever counts it must not take it for running."""
        if message:
            why = PodCondition(
                type="DisruptionTarget", status="True", reason="DeletionByPodGC", message=message
            )
            pod = with_condition(pod, why, self.now())
        status = msgspec.structs.replace(pod.status, phase="Failed")
        return await self.client.update_status(msgspec.structs.replace(pod, status=status))
