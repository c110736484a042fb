"""The endpointslice controller: which pods stand behind each Service."""

from __future__ import annotations

import asyncio

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from kube.machinery.errors import NotFound
from kube.machinery.scheme import key_of
from master.controllers.machinery.controller import Context, Retry
from master.controllers.machinery.selected import ServiceController
from master.controllers.services import endpointslice_plan as planning


class EndpointSliceController(ServiceController):
    name = "endpoint_slice"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.slices = self.informers.of(EndpointSlice)
        self.slices.add_index("endpointslice/service", _service_of)
        self.slices.add_handler(self._on_slice)
        # Slices created and not yet in the cache: planning without them would make doubles.
        self._unseen: dict[str, set[str]] = {}

    def _on_slice(self, kind: str, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        changed = new or old
        assert changed is not None
        for service in _service_of(changed):
            self._unseen.get(service, set()).discard(changed.metadata.name)
            self.queue.add(service)

    async def reconcile(self, key: str) -> None:
        service = self.services.get(key)
        if service is None or service.metadata.deletion_timestamp:
            self._unseen.pop(key, None)
            return  # the garbage collector takes the slices with their owner
        if service.spec.type == "ExternalName" or not service.spec.selector:
            return
        if self._unseen.get(key):
            raise Retry(f'slices of service "{key}" are not in the cache yet')
        await self._perform(key, self._plan(key, service))

    def _plan(self, key: str, service: Service) -> planning.Plan:
        zones = {
            node.metadata.name: node.metadata.labels.get(planning.ZONE, "")
            for node in self.nodes.values()
        }
        existing = self.slices.by_index("endpointslice/service", key)
        pods = self.selected_pods(service)
        return planning.plan(service, pods, zones, existing, self.take_trigger(key))

    async def _perform(self, key: str, plan: planning.Plan) -> None:
        await asyncio.gather(
            *(self._create(key, item) for item in plan.create),
            *(self.client.update(item) for item in plan.update),
            *(self._delete(item) for item in plan.delete),
        )

    async def _create(self, key: str, item: EndpointSlice) -> None:
        created = await self.client.create(item)
        if key_of(created) not in self.slices.store:
            self._unseen.setdefault(key, set()).add(created.metadata.name)

    async def _delete(self, item: EndpointSlice) -> None:
        meta = item.metadata
        try:
            await self.client.delete(EndpointSlice, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            return


def _service_of(item: EndpointSlice) -> list[str]:
    """The key of the service of a slice that this controller manages."""
    labels = item.metadata.labels
    if labels.get(planning.MANAGED_BY) != planning.CONTROLLER:
        return []
    name = labels.get(planning.SERVICE_NAME, "")
    return [f"{item.metadata.namespace}/{name}"] if name else []
