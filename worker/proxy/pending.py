"""What changed since the last sync: noted by the informers' handlers, taken by the syncer. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from kube.machinery.times import parse_time

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
# Set by the endpointslice controller: when the change happened that led to this slice.
TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(slots=True)
class Pending:
    """Keys of services to render again, and since when the network lags behind the API."""

    keys: set[str] = field(default_factory=set)
    services: int = 0
    slices: int = 0
    # Wall-clock seconds of the changes that wait for their rules.
    triggers: list[float] = field(default_factory=list)

    def service(self, old: Service | None, new: Service | None) -> bool:
        """Note a change of a Service; False when it cannot matter."""
        either = new or old
        if either is None or (old and new and old.spec == new.spec and _same(old, new)):
            return False
        self.keys.add(f"{either.metadata.namespace}/{either.metadata.name}")
        self.services += 1
        return True

    def slice_(
        self, old: EndpointSlice | None, new: EndpointSlice | None, since: float = 0.0
    ) -> bool:
        """Note a change of an EndpointSlice. Triggers before `since` (the start) do not count."""
        keys = {key for key in map(service_key, (old, new)) if key}
        if not keys:
            return False
        self.keys |= keys
        self.slices += 1
        if new is not None and (trigger := trigger_seconds(new)) > since:
            self.triggers.append(trigger)
        return True

    def take(self) -> Pending:
        """Everything noted, leaving nothing."""
        taken = Pending(self.keys, self.services, self.slices, self.triggers)
        self.keys, self.services, self.slices, self.triggers = set(), 0, 0, []
        return taken

    def put_back(self, taken: Pending) -> None:
        """A sync failed: its changes wait again."""
        self.keys |= taken.keys
        self.services += taken.services
        self.slices += taken.slices
        self.triggers[:0] = taken.triggers


def _same(old: Service, new: Service) -> bool:
    return old.status == new.status and old.metadata.labels == new.metadata.labels


def service_key(slice_: EndpointSlice | None) -> str:
    """`ns/name` of the service that a slice belongs to; "" for none."""
    if slice_ is None:
        return ""
    name = slice_.metadata.labels.get(SERVICE_NAME_LABEL, "")
    return f"{slice_.metadata.namespace}/{name}" if name else ""


def trigger_seconds(slice_: EndpointSlice) -> float:
    when = parse_time(slice_.metadata.annotations.get(TRIGGER_ANNOTATION, ""))
    return when.timestamp() if when else 0.0
