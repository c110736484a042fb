"""Writes pod statuses to the api-server, and never loses one.

Holds the newest status of each pod; a task per changed pod writes until the api-server has
it, through outages and conflicts. Conditions that others own are kept.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from kube.api import core
from kube.client.client import Client
from kube.component.log import get_logger
from kube.machinery import errors
from worker.kubelet import metrics
from worker.kubelet.pod.names import pod_key
from worker.kubelet.pod.podstatus import OWNED_CONDITIONS

log = get_logger(__name__)

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
# Writers at once; the api-server is shared with everybody else on the node's rate.
CONCURRENCY = 16


class _Entry:
    def __init__(self, pod: core.Pod) -> None:
        self.pod = pod  # the newest object that we know, with the newest status
        self.version = 0
        self.written = 0
        self.since = 0.0
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.gone = False


class StatusWriter:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._entries: dict[str, _Entry] = {}
        self._slots = asyncio.Semaphore(CONCURRENCY)

    def publish(self, pod: core.Pod, status: core.PodStatus) -> bool:
        """Note the newest status of `pod` (as the api-server has it); it will be written.

        False when the api-server has it already. Somebody else may have changed it there (the
        node lifecycle controller does): then it is written again.
        """
        uid = pod.metadata.uid
        entry = self._entries.get(uid)
        fresh = msgspec.structs.replace(pod, status=status)
        if entry is None:
            entry = self._entries[uid] = _Entry(fresh)
            if status == pod.status:
                return False
        elif entry.pod.status == status and not _overwritten(entry.pod, pod, status):
            return False
        entry.pod, entry.version = _newest(entry.pod, fresh), entry.version + 1
        entry.since = entry.since or time.monotonic()
        if entry.task is None or entry.task.done():
            name = f"status-{pod.metadata.name}"
            entry.task = asyncio.create_task(self._write(entry), name=name)
        return True

    async def flush(self, uid: str) -> None:
        """Until the api-server has the newest status of the pod, or the pod is gone."""
        entry = self._entries.get(uid)
        while entry and not entry.gone and entry.written < entry.version:
            entry.changed.clear()
            await entry.changed.wait()

    def forget(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry and entry.task:
            entry.task.cancel()

    def close(self) -> None:
        for uid in list(self._entries):
            self.forget(uid)

    async def _write(self, entry: _Entry) -> None:
        failures = 0
        while not entry.gone and entry.written < entry.version:
            version = entry.version
            try:
                async with self._slots:
                    await self._write_once(entry)
                entry.written, failures = version, 0
                metrics.POD_STATUS_SYNC.observe(time.monotonic() - entry.since)
                entry.since = 0.0
            except errors.NotFound:
                entry.gone = True
            except (errors.StatusError, msgspec.MsgspecError) as error:
                failures += 1
                delay = RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1]
                log.warning(
                    "status not written", pod=pod_key(entry.pod), error=str(error), retry_in=delay
                )
                await asyncio.sleep(delay)
            entry.changed.set()

    async def _write_once(self, entry: _Entry) -> None:
        """One update; on a conflict, on top of what the api-server has now."""
        try:
            stored = await self._client.update_status(entry.pod)
        except errors.Conflict:
            meta = entry.pod.metadata
            found = await self._client.get(core.Pod, meta.name, meta.namespace)
            if found.metadata.uid != meta.uid:
                raise errors.NotFound(f'pod "{meta.name}" was replaced by a namesake') from None
            wanted = merge(found.status, entry.pod.status)
            update = msgspec.structs.replace(found, status=wanted)
            stored = await self._client.update_status(update)
        newer = msgspec.structs.replace(stored, status=entry.pod.status)
        entry.pod = newer  # the next write starts from this resource_version


def _is_newer(a: core.Pod, b: core.Pod) -> bool:
    """Whether `a` is a later version. Versions of one resource compare as numbers (KEP-5504)."""
    one, two = a.metadata.resource_version, b.metadata.resource_version
    return one.isdigit() and two.isdigit() and int(one) > int(two)


def _overwritten(written: core.Pod, stored: core.Pod, status: core.PodStatus) -> bool:
    """Whether somebody has replaced a status of ours since we wrote it."""
    return _is_newer(stored, written) and merge(stored.status, status) != merge(
        stored.status, stored.status
    )


def _newest(held: core.Pod, fresh: core.Pod) -> core.Pod:
    """`fresh`, on the version that our own last write made if its watch event is still due."""
    if _is_newer(held, fresh):
        return msgspec.structs.replace(fresh, metadata=held.metadata)
    return fresh


def merge(stored: core.PodStatus, wanted: core.PodStatus) -> core.PodStatus:
    """Our status with the conditions that other writers own as they are stored now."""
    theirs = [c for c in stored.conditions if c.type not in OWNED_CONDITIONS]
    ours = [c for c in wanted.conditions if c.type in OWNED_CONDITIONS]
    return msgspec.structs.replace(
        wanted,
        conditions=(*ours, *theirs),
        ephemeral_container_statuses=stored.ephemeral_container_statuses,
        resource_claim_statuses=stored.resource_claim_statuses,
    )
