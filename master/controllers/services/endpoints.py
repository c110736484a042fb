"""The endpoints controller: the older form of EndpointSlices that some clients still read."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kube.api.core import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    ObjectReference,
    Pod,
    Service,
)
from kube.api.meta import ObjectMeta
from kube.machinery.errors import AlreadyExists, NotFound
from kube.machinery.scheme import key_of
from master.controllers.machinery.controller import Context, Retry, namespace_and_name
from master.controllers.machinery.pods import is_deleting, is_ready
from master.controllers.machinery.selected import ServiceController
from master.controllers.machinery.watching import gone
from master.controllers.services.endpointslice_plan import HEADLESS, TRIGGER_TIME, pod_ports, serves

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
# Where clients before Lease kept who leads; such Endpoints have no service.
LEADER = "control-plane.alpha.kubernetes.io/leader"
# Endpoints hold at most this many addresses (upstream's maxCapacity).
MAX_ADDRESSES = 1000


class EndpointsController(ServiceController):
    name = "endpoint"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # Only a deletion needs an answer: the service may still want them.
        self.endpoints = self.watch(Endpoints, when=gone)

    async def run(self) -> None:
        """Begin with those whose service went while nobody led (upstream's
        checkLeftoverEndpoints)."""
        await self.informers.wait_synced()
        for endpoints in self.endpoints.values():
            if LEADER not in endpoints.metadata.annotations:
                self.enqueue(key_of(endpoints))
        await super().run()

    async def reconcile(self, key: str) -> None:
        service = self.services.get(key)
        if service is None:
            # Also those that a user wrote for a service without a selector. The API is asked, not
            # the cache, which may not have heard yet of Endpoints as new as the deletion.
            await self._delete(key)
            return
        if service.spec.type == "ExternalName" or not service.spec.selector:
            return
        wanted = plan(service, self.selected_pods(service))
        current = self.endpoints.get(key)
        if current is None:
            try:
                await self.client.create(_stamped(wanted, self.take_trigger(key)))
            except AlreadyExists as error:
                raise Retry("the cache is behind") from error
            return
        if current.subsets == wanted.subsets and _labels_match(current, wanted):
            self.take_trigger(key)
            return
        merged = msgspec.structs.replace(
            current,
            subsets=wanted.subsets,
            metadata=msgspec.structs.replace(current.metadata, labels=wanted.metadata.labels),
        )
        await self.client.update(_stamped(merged, self.take_trigger(key)))

    async def _delete(self, key: str) -> None:
        namespace, name = namespace_and_name(key)
        try:
            await self.client.delete(Endpoints, name, namespace)
        except NotFound:
            return


def plan(service: Service, pods: Sequence[Pod]) -> Endpoints:
    """The Endpoints of a service: subsets of equal ports, ready and not ready apart. Pure."""
    everybody = bool(service.spec.publish_not_ready_addresses)
    groups: dict[tuple[EndpointPort, ...], tuple[list[EndpointAddress], list[EndpointAddress]]]
    groups = {}
    for pod in pods[:MAX_ADDRESSES]:
        if not serves(pod) or (is_deleting(pod) and not everybody):
            continue
        ports = _ports(service, pod)
        if not ports and service.spec.ports:
            continue
        ready, waiting = groups.setdefault(ports, ([], []))
        (ready if is_ready(pod) or everybody else waiting).append(_address(service, pod))
    subsets = [
        EndpointSubset(
            addresses=tuple(sorted(ready, key=lambda a: a.ip)),
            not_ready_addresses=tuple(sorted(waiting, key=lambda a: a.ip)),
            ports=ports,
        )
        for ports, (ready, waiting) in groups.items()
    ]
    subsets.sort(key=lambda subset: [(port.name, port.port or 0) for port in subset.ports])
    return Endpoints(metadata=_meta(service), subsets=tuple(subsets))


def _meta(service: Service) -> ObjectMeta:
    labels = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    labels[MANAGED_BY] = "endpoint-controller"
    meta = service.metadata
    return ObjectMeta(name=meta.name, namespace=meta.namespace, labels=labels)


def _ports(service: Service, pod: Pod) -> tuple[EndpointPort, ...]:
    return tuple(
        EndpointPort(
            name=port.name, port=port.port, protocol=port.protocol,
            app_protocol=port.app_protocol,
        )
        for port in pod_ports(service, pod)
    )  # fmt: skip


def _address(service: Service, pod: Pod) -> EndpointAddress:
    meta = pod.metadata
    in_domain = pod.spec.subdomain == service.metadata.name
    return EndpointAddress(
        ip=pod.status.pod_ip,
        node_name=pod.spec.node_name,
        hostname=pod.spec.hostname if in_domain else "",
        target_ref=ObjectReference(
            kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid
        ),
    )


def _labels_match(current: Endpoints, wanted: Endpoints) -> bool:
    return current.metadata.labels == wanted.metadata.labels


def _stamped(endpoints: Endpoints, trigger: str) -> Endpoints:
    annotations = endpoints.metadata.annotations | {TRIGGER_TIME: trigger}
    meta = msgspec.structs.replace(endpoints.metadata, annotations=annotations)
    return msgspec.structs.replace(endpoints, metadata=meta)
