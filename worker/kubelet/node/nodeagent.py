"""Registers the node and keeps its status fresh, through any outage of the api-server.

Whether this machine counts as alive is decided by its Lease, which `heartbeat` renews.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from kube.api import core
from kube.client.client import Client
from kube.client.events import EventRecorder
from kube.component.log import get_logger
from kube.machinery import errors
from kube.machinery.conditions import is_true, status_of
from worker.kubelet.cri.runtime import Runtime, RuntimeFailure
from worker.kubelet.node.heartbeat import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, Heartbeat
from worker.kubelet.node.node import NodeFacts, RuntimeSeen, differs, new_node, node_status
from worker.kubelet.pod.gate import RuntimeFeatures

log = get_logger(__name__)

REPORT_SECONDS = 300.0  # an unchanged status is written this often (nodeStatusReportFrequency)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    labels: dict[str, str]
    taints: tuple[core.Taint, ...]
    endpoint: str
    update_seconds: float


class NodeAgent:
    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        events: EventRecorder,
        facts: NodeFacts,
        settings: AgentSettings,
        health: Callable[[], str | None],
        features: RuntimeFeatures,
        pressures: Callable[[], tuple[str, ...]],
        heartbeat: Heartbeat,
    ) -> None:
        self._client, self._runtime, self._events = client, runtime, events
        self._facts, self._settings, self._health = facts, settings, health
        self._features, self._pressures = features, pressures
        self._heartbeat = heartbeat
        self._node: core.Node | None = None
        self._reported = 0.0
        self._runtime_seen = RuntimeSeen()
        self._cidr = ""
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the status now: something about this node has changed."""
        self._wake.set()

    async def run(self) -> None:
        retry = FIRST_RETRY_SECONDS
        while True:
            self._wake.clear()
            try:
                await self._sync_status()
                retry, pause = FIRST_RETRY_SECONDS, self._settings.update_seconds
                if self._not_ready():
                    # The runtime or its network is usually a moment late; do not wait a period.
                    pause = min(pause, 0.5)
            except errors.StatusError as error:
                log.warning("node status not written", error=str(error), retry_in=retry)
                self._node = None
                pause, retry = retry, min(retry * 2, LAST_RETRY_SECONDS)
            await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _not_ready(self) -> bool:
        status = self._node.status if self._node else core.NodeStatus()
        return not is_true(status.conditions, "Ready")

    async def _sync_status(self) -> None:
        node = await self._registered()
        facts, now = await self._measure(), time.time()
        status = node_status(node, facts, now)
        due = now - self._reported >= REPORT_SECONDS
        if differs(status, node.status) or due:
            stored = await self._write(node, status, facts, now)
            self._announce(node, stored)
            self._node, self._reported = stored, now
        self._heartbeat.registered(node.metadata.uid)
        await self._pass_cidr(self._node or node)

    async def _write(
        self, node: core.Node, status: core.NodeStatus, facts: NodeFacts, now: float
    ) -> core.Node:
        try:
            return await self._client.update_status(msgspec.structs.replace(node, status=status))
        except errors.Conflict:
            fresh = await self._client.get(core.Node, facts.name)
            status = node_status(fresh, facts, now)
            return await self._client.update_status(msgspec.structs.replace(fresh, status=status))

    def _announce(self, before: core.Node, after: core.Node) -> None:
        was, now = _ready_status(before), _ready_status(after)
        # The first status of a new node is no transition, unless it is a good one.
        if was == now or (not was and now != "True"):
            return
        reason = "NodeReady" if now == "True" else "NodeNotReady"
        log.info("node condition", node=after.metadata.name, ready=now)
        text = f"Node {after.metadata.name} status is now: {reason}"
        self._events.event(after, "Normal", reason, text)

    async def _registered(self) -> core.Node:
        """Our Node as the api-server has it now, made when it is not there."""
        name = self._facts.name
        try:
            found = await self._client.get(core.Node, name)
        except errors.NotFound:
            return await self._register()
        if self._node is None:
            found = await self._relabel(found)
        self._node = found
        return found

    async def _register(self) -> core.Node:
        settings = self._settings
        node = new_node(self._facts, settings.labels, settings.taints, settings.endpoint)
        try:
            created = await self._client.create(node)
        except errors.AlreadyExists:
            return await self._client.get(core.Node, self._facts.name)
        log.info("node registered", node=self._facts.name)
        self._events.event(created, "Normal", "Starting", "Starting kubelet.")
        self._node = created
        return created

    async def _relabel(self, found: core.Node) -> core.Node:
        """A kubelet that comes back makes its own labels right; taints are others' by then."""
        wanted = new_node(self._facts, self._settings.labels, (), self._settings.endpoint)
        labels = {**found.metadata.labels, **wanted.metadata.labels}
        if labels == found.metadata.labels:
            return found
        patch = {"metadata": {"labels": wanted.metadata.labels}}
        return await self._client.patch(core.Node, self._facts.name, patch)

    async def _pass_cidr(self, node: core.Node) -> None:
        """Tell the runtime the pod network of this node, once there is one."""
        cidr = node.spec.pod_cidr
        if not cidr or cidr == self._cidr:
            return
        try:
            await self._runtime.update_pod_cidr(cidr)
        except RuntimeFailure as error:
            log.warning("runtime did not take the pod CIDR", cidr=cidr, error=error.details)
            return
        self._cidr = cidr
        log.info("pod CIDR", cidr=cidr)
        self._wake.set()

    # -- measuring

    async def _measure(self) -> NodeFacts:
        problems = [p for p in (self._health(),) if p]
        images = self._node.status.images if self._node else self._facts.images
        try:
            problems += await self._runtime_problems()
            images = await self._images()
            self._runtime_seen.answered(time.monotonic())
        except RuntimeFailure as error:
            if self._runtime_seen.is_down(time.monotonic()):
                problems.append(f"container runtime is down: {error.details}")
        facts, pressures = self._facts, self._pressures()
        return replace(
            facts,
            images=images,
            problems=tuple(problems),
            memory_pressure="MemoryPressure" in pressures,
            disk_pressure="DiskPressure" in pressures,
            pid_pressure="PIDPressure" in pressures,
        )

    async def _runtime_problems(self) -> list[str]:
        response = await self._runtime.status()
        self._features.take(response)
        conditions = {c.type: c for c in response.status.conditions}
        problems = []
        for kind, name in (
            ("RuntimeReady", "container runtime"),
            ("NetworkReady", "container runtime network"),
        ):
            found = conditions.get(kind)
            if found is None or not found.status:
                reason, message = (found.reason, found.message) if found else ("", "not reported")
                problems.append(f"{name} not ready: {kind}=false reason:{reason} message:{message}")
        return problems

    async def _images(self) -> tuple[core.ContainerImage, ...]:
        return tuple(
            core.ContainerImage(
                names=tuple(image.repo_digests) + tuple(image.repo_tags), size_bytes=image.size
            )
            for image in await self._runtime.list_images()
            if image.repo_digests or image.repo_tags
        )


def _ready_status(node: core.Node) -> str:
    return status_of(node.status.conditions, "Ready")
