"""The pod lifecycle event generator: tells which pods changed in the runtime.

Follows upstream's evented PLEG (KEP-3386): the runtime's event stream says what changed at
once, and a relist now and then finds what a broken stream missed. A runtime without the
stream (containerd before 1.7) is relisted every second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from kube.component.log import get_logger
from kube.rpc.errors import Code, RpcError
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet import metrics
from worker.kubelet.cri.runtime import Runtime, RuntimeFailure
from worker.kubelet.pod import names

log = get_logger(__name__)

RELIST_SECONDS = 1.0
# With a living stream the relist is only a safety net (upstream: 300 s; a lab heals faster).
EVENTED_RELIST_SECONDS = 20.0
# After this long without a good relist the kubelet is unhealthy (upstream's relistThreshold).
STALE_SECONDS = 180.0

Fingerprint = frozenset[tuple[str, int]]


class Pleg:
    """Calls `on_change(uid)` for each pod whose sandboxes or containers changed."""

    def __init__(self, runtime: Runtime, on_change: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._on_change = on_change
        self._seen: dict[str, Fingerprint] = {}
        self._streaming = False
        self._last_relist = time.monotonic()
        self.listed = asyncio.Event()

    @property
    def pods(self) -> set[str]:
        """The uids of all pods that the runtime had at the last relist."""
        return set(self._seen)

    def health(self) -> str | None:
        age = time.monotonic() - self._last_relist
        if age <= STALE_SECONDS:
            return None
        return f"pleg was last seen active {age:.0f}s ago; threshold is {STALE_SECONDS:.0f}s"

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._relist_forever(), name="pleg-relist")
            tasks.create_task(self._stream_forever(), name="pleg-events")

    async def _relist_forever(self) -> None:
        while True:
            try:
                await self.relist()
            except RuntimeFailure as error:
                log.warning("relist failed", error=str(error))
            period = EVENTED_RELIST_SECONDS if self._streaming else RELIST_SECONDS
            deadline = time.monotonic() + period
            while time.monotonic() < deadline:
                await asyncio.sleep(RELIST_SECONDS)
                if not self._streaming:
                    break

    async def relist(self) -> None:
        """Compare what the runtime has with what it had, and report the pods that differ."""
        began = time.monotonic()
        sandboxes, containers = await asyncio.gather(
            self._runtime.list_sandboxes(), self._runtime.list_containers()
        )
        found: dict[str, set[tuple[str, int]]] = {}
        for sandbox in sandboxes:
            uid = sandbox.labels.get(names.POD_UID) or sandbox.metadata.uid
            found.setdefault(uid, set()).add((sandbox.id, sandbox.state))
        for container in containers:
            uid = container.labels.get(names.POD_UID, "")
            found.setdefault(uid, set()).add((container.id, container.state))
        self._count(sandboxes, containers)
        fresh = {uid: frozenset(items) for uid, items in found.items() if uid}
        changed = [uid for uid, items in fresh.items() if self._seen.get(uid) != items]
        changed += [uid for uid in self._seen if uid not in fresh]
        self._seen = fresh
        metrics.RELIST_SECONDS.observe(time.monotonic() - began)
        metrics.RELIST_INTERVAL.observe(began - self._last_relist)
        self._last_relist = began
        self.listed.set()
        for uid in changed:
            self._on_change(uid)

    def _count(self, sandboxes: list[cri.PodSandbox], containers: list[cri.Container]) -> None:
        metrics.RUNNING_PODS.set(sum(s.state == cri.SANDBOX_READY for s in sandboxes))
        for name, state in (
            ("created", cri.CONTAINER_CREATED),
            ("running", cri.CONTAINER_RUNNING),
            ("exited", cri.CONTAINER_EXITED),
            ("unknown", cri.CONTAINER_UNKNOWN),
        ):
            number = sum(c.state == state for c in containers)
            metrics.RUNNING_CONTAINERS.labels(name).set(number)

    async def _stream_forever(self) -> None:
        while True:
            try:
                await self._stream()
            except RpcError as error:
                self._streaming = False
                metrics.EVENTED_ERRORS.inc()
                if error.code is Code.UNIMPLEMENTED:
                    log.info("runtime has no event stream, relisting every second")
                    return
                log.debug("event stream broken", error=error.message)
            self._streaming = False
            await asyncio.sleep(RELIST_SECONDS)

    async def _stream(self) -> None:
        stream = self._runtime.events()
        metrics.EVENTED_CONNECTIONS.inc()
        async for event in stream:
            # Only a stream that delivered is trusted: some runtimes accept the call and stay
            # silent.
            self._streaming = True
            uid = event.pod_sandbox_status.metadata.uid
            if uid:
                self._on_change(uid)
            else:
                await self.relist()
