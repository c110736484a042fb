"""Events, Leases, Endpoints, EndpointSlices: what components write about the cluster."""

from __future__ import annotations

from msgspec.structs import replace

from kube.api import core, discovery
from kube.api.coordination import Lease
from kube.api.core import Endpoints, Event
from kube.api.discovery import EndpointSlice
from master.apiserver.registry.strategy import Causes, Strategy
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.endpoints import validate_endpoints, validate_slice

EVENT_TTL_SECONDS = 3600


class EventStrategy(Strategy[Event]):
    ttl_seconds = EVENT_TTL_SECONDS

    def validate(self, obj: Event) -> Causes:
        involved = obj.involved_object or core.ObjectReference()
        # Events about cluster-scoped objects live in `default`.
        if (involved.namespace or "default") != obj.metadata.namespace:
            return [
                field.invalid(
                    "involvedObject.namespace",
                    involved.namespace,
                    "does not match event.namespace",
                )
            ]
        return []


class LeaseStrategy(Strategy[Lease]):
    allow_unconditional_update = False

    def validate(self, obj: Lease) -> Causes:
        causes: Causes = []
        duration = obj.spec.lease_duration_seconds
        if duration is not None and duration <= 0:
            causes.append(
                field.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
            )
        if obj.spec.lease_transitions is not None and obj.spec.lease_transitions < 0:
            causes.append(
                field.invalid(
                    "spec.leaseTransitions",
                    obj.spec.lease_transitions,
                    "must be greater than or equal to 0",
                )
            )
        return causes


class EndpointsStrategy(Strategy[Endpoints]):
    def default(self, obj: Endpoints) -> Endpoints:
        subsets = tuple(
            replace(subset, ports=tuple(_core_port(port) for port in subset.ports))
            for subset in obj.subsets
        )
        return replace(obj, subsets=subsets)

    def validate(self, obj: Endpoints) -> Causes:
        return validate_endpoints(obj)


def _core_port(port: core.EndpointPort) -> core.EndpointPort:
    return replace(port, protocol=port.protocol or "TCP")


class EndpointSliceStrategy(Strategy[EndpointSlice]):
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: EndpointSlice) -> EndpointSlice:
        return replace(obj, ports=tuple(_slice_port(port) for port in obj.ports))

    def spec_of(self, obj: EndpointSlice) -> EndpointSlice:
        """The whole slice but its metadata is what it says."""
        return replace(obj, metadata=type(obj.metadata)())

    def validate(self, obj: EndpointSlice) -> Causes:
        return validate_slice(obj)

    def validate_update(self, new: EndpointSlice, old: EndpointSlice) -> Causes:
        if new.address_type == old.address_type:
            return []
        return [field.invalid("addressType", new.address_type, "field is immutable")]


def _slice_port(port: discovery.EndpointPort) -> discovery.EndpointPort:
    return replace(port, protocol=port.protocol or "TCP")
