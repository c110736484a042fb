"""Records core/v1 Events, as client-go's EventRecorder: never blocks, never floods.

The same event again raises `count` and `lastTimestamp` of the one that exists; one object
may cause a burst of 25 and then one event in five minutes. What does not fit is dropped:
events explain, nothing depends on them.
"""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from kube.api.core import Event, EventSource, ObjectReference
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.component.log import get_logger
from kube.machinery.errors import NotFound, StatusError
from kube.machinery.scheme import ApiObject, resource_for
from kube.machinery.times import format_time, utc_now

log = get_logger(__name__)
QUEUE_SIZE = 1000
CACHE_SIZE = 4096
BURST = 25
REFILL_SECONDS = 300.0
NORMAL = "Normal"
WARNING = "Warning"


def reference(obj: ApiObject, field_path: str = "") -> ObjectReference:
    """The ObjectReference that `involvedObject` and `targetRef` carry."""
    resource, meta = resource_for(type(obj)), obj.metadata
    return ObjectReference(
        api_version=resource.api_version,
        kind=resource.kind,
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        resource_version=meta.resource_version,
        field_path=field_path,
    )


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One call of `event`, before it is written or counted."""

    involved: ObjectReference
    type: str
    reason: str
    message: str
    at: datetime

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two occurrences the same event."""
        ref = self.involved
        return (
            ref.kind, ref.namespace, ref.name, ref.uid, ref.field_path,
            self.type, self.reason, self.message,
        )  # fmt: skip


class SpamFilter:
    """A token bucket for each object (client-go's EventSourceObjectSpamFilter). Pure."""

    def __init__(self, burst: int = BURST, refill_seconds: float = REFILL_SECONDS) -> None:
        self._burst, self._refill = burst, refill_seconds
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, key: str, now: float) -> bool:
        tokens, at = self._buckets.pop(key, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - at) / self._refill)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > CACHE_SIZE:
            self._buckets.popitem(last=False)
        return allowed


def new_event(occurrence: Occurrence, component: str, host: str) -> Event:
    """The Event object of a first occurrence. Its name is the object's plus the instant."""
    ref, stamp = occurrence.involved, format_time(occurrence.at)
    nanoseconds = int(occurrence.at.timestamp() * 1_000_000) * 1000
    return Event(
        # What has no namespace has its events in `default`, as upstream's.
        metadata=ObjectMeta(
            name=f"{ref.name}.{nanoseconds:x}", namespace=ref.namespace or "default"
        ),
        involved_object=ref,
        type=occurrence.type,
        reason=occurrence.reason,
        message=occurrence.message,
        source=EventSource(component=component, host=host),
        reporting_component=component,
        reporting_instance=host,
        first_timestamp=stamp,
        last_timestamp=stamp,
        count=1,
    )


class EventRecorder:
    """`event` notes an occurrence; `run` (a task of the caller) writes them."""

    def __init__(self, client: Client, component: str, host: str) -> None:
        self._client, self._component, self._host = client, component, host
        self._queue: asyncio.Queue[tuple[Occurrence, str]]
        self._queue = asyncio.Queue(QUEUE_SIZE)
        self._spam = SpamFilter()
        # key -> (namespace, name, count) of events that exist already
        self._known: OrderedDict[tuple[str, ...], tuple[str, str, int]] = OrderedDict()

    def named(self, component: str) -> EventRecorder:
        """One that speaks for a part of this process; `run` of either writes for both."""
        twin = copy.copy(self)
        twin._component = component
        return twin

    def event(
        self,
        obj: ApiObject | ObjectReference,
        type: str,
        reason: str,
        message: str,
        field_path: str = "",
    ) -> None:
        """Note an event about `obj`. `type` is Normal or Warning. Returns at once."""
        ref = obj if isinstance(obj, ObjectReference) else reference(obj, field_path)
        occurrence = Occurrence(ref, type, reason, message[:1024], utc_now())
        now = asyncio.get_running_loop().time()
        if not self._spam.allows(f"{ref.kind}/{ref.namespace}/{ref.name}/{ref.uid}", now):
            return
        try:
            self._queue.put_nowait((occurrence, self._component))
        except asyncio.QueueFull:
            log.warning("event dropped", reason=reason, object=f"{ref.namespace}/{ref.name}")

    async def run(self) -> None:
        """Write what `event` noted until cancelled."""
        while True:
            occurrence, component = await self._queue.get()
            try:
                await self._write(occurrence, component)
            except StatusError as error:
                log.debug("event not written", reason=occurrence.reason, error=str(error))
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        """Until all noted events are written or given up; for the end of a process."""
        await self._queue.join()

    async def _write(self, occurrence: Occurrence, component: str) -> None:
        known = self._known.pop(occurrence.key, None)
        if known is not None and await self._count_up(occurrence, *known):
            return
        created = await self._client.create(new_event(occurrence, component, self._host))
        meta = created.metadata
        self._remember(occurrence.key, (meta.namespace, meta.name, 1))

    async def _count_up(
        self, occurrence: Occurrence, namespace: str, name: str, count: int
    ) -> bool:
        patch = {"count": count + 1, "lastTimestamp": format_time(occurrence.at)}
        try:
            await self._client.patch(Event, name, patch, namespace)
        except NotFound:  # its time to live ended
            return False
        self._remember(occurrence.key, (namespace, name, count + 1))
        return True

    def _remember(self, key: tuple[str, ...], entry: tuple[str, str, int]) -> None:
        self._known[key] = entry
        while len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
