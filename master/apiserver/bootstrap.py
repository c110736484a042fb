"""What must exist in every cluster, and this server's place among the api-servers.

Upstream: pkg/controlplane/controller/{systemnamespaces,kubernetesservice} and the lease
endpoint reconciler: each api-server keeps a key with a 15 s lease, and the live keys are the
endpoints of the service `kubernetes`.
"""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec

from kube.api.core import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Namespace,
    Service,
    ServicePort,
    ServiceSpec,
)
from kube.api.discovery import Endpoint, EndpointConditions, EndpointSlice
from kube.api.discovery import EndpointPort as SlicePort
from kube.api.meta import ObjectMeta
from kube.api.scheduling import PriorityClass
from kube.component.log import get_logger
from kube.machinery.errors import AlreadyExists, NotFound, StatusError
from kube.machinery.scheme import ApiObject
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.authz.policy import Policy, bootstrap_policy, reconciled
from master.apiserver.cache.cacher import Cacher
from master.apiserver.etcd3.errors import StoreError
from master.apiserver.etcd3.store import ANY, Change, Store, prefix_end
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.kinds.scheduling.priorityclass import SYSTEM as SYSTEM_CLASSES
from master.apiserver.kinds.settings import Ranges
from master.apiserver.registry.metadata import with_meta
from master.apiserver.registry.options import Target, WriteOptions
from master.apiserver.registry.writer import Writer, at_once
from master.apiserver.storage.keys import MASTER_LEASES

log = get_logger(__name__)
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
LEASE_SECONDS = 15
RENEW_SECONDS = 5.0
# Roles that are written at once, at the first start.
_AT_ONCE = 16
NAME = "kubernetes"
_OPTIONS = WriteOptions(field_manager="kube-apiserver", trusted=True)


class Bootstrap:
    def __init__(
        self,
        store: Store,
        cacher: Cacher,
        writer: Writer,
        authorizer: Authorizer,
        ranges: Ranges,
        address: str,
        port: int,
    ) -> None:
        self._authorizer = authorizer
        # Whether all roles and bindings are as they are to be at start.
        self.policed = asyncio.Event()
        self._store = store
        self._cacher = cacher
        self._writer = writer
        self._ranges = ranges
        self._address = address
        self._port = port
        self._running = False

    async def run(self) -> None:
        """Keep it so, for ever; what the store refuses now is done in the next round."""
        self._running = True
        while self._running:
            try:
                await self._ensure_objects()
                if not self.policed.is_set():
                    await self._ensure_policy()
                await self._renew()
                await self._advertise(await self._masters())
            except (StoreError, StatusError) as error:
                log.warning("bootstrap postponed", error=str(error))
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(RENEW_SECONDS)

    async def withdraw(self) -> None:
        """This server stops: clients of the service are sent to the others at once."""
        self._running = False
        try:
            async with asyncio.timeout(2):
                await self._store.commit([Change(self._key, ANY, None)])
                await self._advertise(await self._masters())
        except (StoreError, StatusError, TimeoutError) as error:
            log.warning("could not withdraw from the service", error=str(error))

    @property
    def _key(self) -> bytes:
        return f"{MASTER_LEASES}{self._address}".encode()

    async def _ensure_objects(self) -> None:
        for name in SYSTEM_NAMESPACES:
            if self._cacher[kind_of(Namespace)].get(name) is None:
                await self._create(Namespace(metadata=ObjectMeta(name=name)))
        for wanted in SYSTEM_CLASSES:
            if self._cacher[kind_of(PriorityClass)].get(wanted.metadata.name) is None:
                await self._create(wanted)
        if self._cacher[kind_of(Service)].get(f"default/{NAME}") is None:
            await self._create(self._service())

    async def _ensure_policy(self) -> None:
        """Roles and bindings, once: what an administrator changes later stays until a restart."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(wanted: Policy) -> None:
            async with room:
                await self._reconcile(wanted)

        await asyncio.gather(*(one(wanted) for wanted in bootstrap_policy()))
        await self._cacher.wait_fresh()
        self._authorizer.ready = True
        self.policed.set()

    async def _reconcile(self, wanted: Policy) -> None:
        kind, meta = kind_of(type(wanted)), wanted.metadata
        key = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
        entry = self._cacher[kind].get(key)
        if entry is None:
            await self._create(wanted)
            return
        found = cast(Policy, kind.codec.decode(entry.stored))
        if reconciled(found, wanted) != found:
            target = Target(kind, meta.namespace, meta.name)
            merge = at_once(lambda old: reconciled(cast(Policy, old), wanted))
            await self._writer.edit(target, merge, _OPTIONS)
            log.info("brought up to date", kind=wanted.kind, name=meta.name)

    def _service(self) -> Service:
        address = self._ranges.kubernetes_ip
        return Service(
            metadata=ObjectMeta(
                name=NAME,
                namespace="default",
                labels={"component": "apiserver", "provider": "kubernetes"},
            ),
            spec=ServiceSpec(
                cluster_ip=address,
                cluster_ips=(address,),
                ports=(ServicePort(name="https", port=443, target_port=self._port),),
            ),
        )

    async def _create(self, obj: ApiObject) -> None:
        target = Target(kind_of(type(obj)), obj.metadata.namespace)
        try:
            await self._writer.create(target, obj, _OPTIONS)
        except AlreadyExists:
            return  # another api-server was faster
        log.info("created", kind=obj.kind, name=obj.metadata.name)

    async def _renew(self) -> None:
        lease = await self._store.grant_lease(LEASE_SECONDS)
        await self._store.commit([Change(self._key, ANY, self._address.encode(), lease)])

    async def _masters(self) -> list[str]:
        prefix = MASTER_LEASES.encode()
        page = await self._store.range(prefix, prefix_end(prefix))
        return sorted(kv.value.decode() for kv in page.kvs)

    async def _advertise(self, addresses: list[str]) -> None:
        """Endpoints and EndpointSlice of the service, equal to the live api-servers."""
        meta = ObjectMeta(
            name=NAME,
            namespace="default",
            labels={"endpointslice.kubernetes.io/skip-mirror": "true"},
        )
        subsets = (
            EndpointSubset(
                addresses=tuple(EndpointAddress(ip=address) for address in addresses),
                ports=(EndpointPort(name="https", port=self._port, protocol="TCP"),),
            ),
        )
        await self._put(Endpoints(metadata=meta, subsets=subsets if addresses else ()))
        slice_meta = msgspec.structs.replace(meta, labels={"kubernetes.io/service-name": NAME})
        await self._put(
            EndpointSlice(
                metadata=slice_meta,
                address_type="IPv4",
                endpoints=tuple(
                    Endpoint(addresses=(address,), conditions=EndpointConditions(ready=True))
                    for address in addresses
                ),
                ports=(SlicePort(name="https", port=self._port, protocol="TCP"),),
            )
        )

    async def _put(self, obj: ApiObject) -> None:
        target = Target(kind_of(type(obj)), "default", NAME)

        def replaced(old: ApiObject) -> ApiObject:
            return with_meta(obj, resource_version=old.metadata.resource_version)

        try:
            await self._writer.edit(target, at_once(replaced), _OPTIONS)
        except NotFound:
            await self._create(obj)
