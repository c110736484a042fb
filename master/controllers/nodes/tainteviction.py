"""The taint-eviction controller: deletes the pods that a NoExecute taint drives out.

A pod with a toleration of N seconds gets N seconds, counted from when the taint was first
seen; when the taint goes in time, the pod stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from prometheus_client import Counter, Histogram

from kube.api.core import Node, Pod, PodCondition, Taint, Toleration
from kube.client.events import NORMAL
from kube.machinery.errors import Conflict, NotFound
from kube.machinery.scheme import key_of
from kube.machinery.times import parse_time
from kube.machinery.tolerations import tolerates
from master.controllers.machinery.controller import Context, Controller
from master.controllers.machinery.pods import is_deleting, with_condition

DELETIONS = Counter("taint_eviction_controller_pod_deletions_total", "Pods evicted by taints.")
LATENCY = Histogram(
    "taint_eviction_controller_pod_deletion_duration_seconds",
    "From when the eviction was due to the deletion.",
)


def patience(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> float | None:
    """Seconds that a pod may stay under these NoExecute taints: None for ever, 0 not at all.

    Of a taint's matching tolerations the first counts as upstream's, of all of them the
    shortest limit.
    """
    limits: list[float] = []
    for taint in taints:
        matching = [t for t in tolerations if tolerates(t, taint)]
        if not matching:
            return 0.0
        limits += [
            max(0.0, t.toleration_seconds) for t in matching if t.toleration_seconds is not None
        ]
    return min(limits) if limits else None


def no_execute(node: Node) -> tuple[Taint, ...]:
    return tuple(taint for taint in node.spec.taints if taint.effect == "NoExecute")


class TaintEvictionController(Controller):
    name = "noexec_taint_pod_queue"
    event_source = "taint-eviction-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.nodes = self.informers.of(Node)
        self.pods = self.informers.of(Pod)
        self.pods.add_index("tainteviction/node", lambda pod: [pod.spec.node_name])
        # node -> taint key -> when it was first seen, by our clock
        self._seen: dict[str, dict[str, float]] = {}
        # pods with an eviction in the future, for the event when it is called off
        self._scheduled: set[str] = set()
        self.nodes.add_handler(self._on_node)
        self.pods.add_handler(self._on_pod)

    def _on_node(self, kind: str, old: Node | None, new: Node | None) -> None:
        node = new or old
        assert node is not None
        name = node.metadata.name
        taints = no_execute(new) if new is not None else ()
        if not taints and name not in self._seen:
            return
        known = self._seen.get(name, {})
        if {taint.key for taint in taints} == known.keys():
            return
        self._seen[name] = {t.key: known.get(t.key, self._first_seen(kind, t)) for t in taints}
        if not taints:
            del self._seen[name]
        for pod in self.pods.by_index("tainteviction/node", name):
            self.queue.add(key_of(pod))

    def _first_seen(self, kind: str, taint: Taint) -> float:
        """Now; but a taint that was there before this process started counts from its own
        time (whole seconds, so one more is given), or every restart would prolong it."""
        now = asyncio.get_running_loop().time()
        added = parse_time(taint.time_added)
        if kind != "ADDED" or added is None:
            return now
        age = (self.now() - (added + timedelta(seconds=1))).total_seconds()
        return now - max(0.0, age)

    def _on_pod(self, kind: str, old: Pod | None, new: Pod | None) -> None:
        if new is None:
            assert old is not None
            self._scheduled.discard(key_of(old))
        elif new.spec.node_name in self._seen and (old is None or _moved(old, new)):
            self.queue.add(key_of(new))

    async def reconcile(self, key: str) -> None:
        pod = self.pods.get(key)
        if pod is None or is_deleting(pod):
            self._scheduled.discard(key)
            return
        due = self._due(pod)
        now = asyncio.get_running_loop().time()
        if due is None:
            self._call_off(key, pod)
        elif due > now:
            self._scheduled.add(key)
            self.queue.add_after(key, due - now)
        else:
            await self._evict(key, pod)
            LATENCY.observe(max(0.0, asyncio.get_running_loop().time() - due))

    def _due(self, pod: Pod) -> float | None:
        """When the pod must go; None when it may stay."""
        node = self.nodes.get(pod.spec.node_name) if pod.spec.node_name else None
        taints = no_execute(node) if node is not None else ()
        seen = self._seen.get(pod.spec.node_name, {})
        if not taints or not seen:
            return None
        seconds = patience(taints, pod.spec.tolerations)
        return None if seconds is None else min(seen.values()) + seconds

    def _call_off(self, key: str, pod: Pod) -> None:
        if key in self._scheduled:
            self._scheduled.discard(key)
            text = f"Cancelling deletion of Pod {key}"
            self.recorder.event(pod, NORMAL, "TaintManagerEviction", text)

    async def _evict(self, key: str, pod: Pod) -> None:
        self._scheduled.discard(key)
        text = f"Marking for deletion Pod {key}"
        self.recorder.event(pod, NORMAL, "TaintManagerEviction", text)
        why = PodCondition(
            type="DisruptionTarget", status="True", reason="DeletionByTaintManager",
            message="Taint manager: deleting due to NoExecute taint",
        )  # fmt: skip
        meta = pod.metadata
        try:
            await self.client.update_status(with_condition(pod, why, self.now()))
            await self.client.delete(Pod, meta.name, meta.namespace, uid=meta.uid)
        except (NotFound, Conflict):
            # Gone, replaced by a namesake, or changed just now: look again.
            self.queue.add_rate_limited(key)
            return
        DELETIONS.inc()


def _moved(old: Pod, new: Pod) -> bool:
    return old.spec.node_name != new.spec.node_name or old.spec.tolerations != new.spec.tolerations
