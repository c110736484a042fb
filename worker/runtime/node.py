"""All of this node's sandboxes, containers and images, and the order in which they may change.

One change at a time per sandbox and per container; reading never waits. Every operation may be
repeated, and asks for a state rather than for a step.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

from kube.component.log import get_logger
from kube.stubs.cri import api_pb2 as cri
from worker.runtime.containers.containers import Containers
from worker.runtime.containers.execs import Execs
from worker.runtime.containers.lifecycle import state
from worker.runtime.errors import FailedPrecondition, InvalidArgument
from worker.runtime.images.store import ImageStore
from worker.runtime.locks import KeyedLocks
from worker.runtime.oci.cgroups import Cgroups
from worker.runtime.oci.resources import NodeFacts
from worker.runtime.oci.runtime import OciRuntime
from worker.runtime.records import ContainerRecord, SandboxRecord
from worker.runtime.sandboxes import user_namespaces
from worker.runtime.sandboxes.cni import Cni
from worker.runtime.sandboxes.sandboxes import Places, Sandboxes, prepare
from worker.runtime.service import convert
from worker.runtime.service.events import EventBroker

log = get_logger(__name__)


class ContainerHost:
    def __init__(
        self, places: Places, runtime: OciRuntime, conmon: str, cni: Cni, facts: NodeFacts
    ) -> None:
        prepare(places)
        self.places = places
        self.runtime = runtime
        self.cni = cni
        self.facts = facts
        self.cgroups = Cgroups()
        self.events = EventBroker()
        self.images = ImageStore(places.root / "images")
        self.sandboxes = Sandboxes(places, cni)
        self.containers = Containers(
            places, self.sandboxes, self.images, runtime, conmon,
            self.cgroups, facts, self._container_changed,
        )  # fmt: skip
        self.execs = Execs(runtime, places.bundles, places.state / "exec")
        self._locks = KeyedLocks()
        self.has_user_namespaces = False

    async def restore(self) -> None:
        """Bring memory, disk and kernel to agree again after a restart or a reboot."""
        root = self.places.root
        self.has_user_namespaces = await asyncio.to_thread(user_namespaces.supported, root)
        await self.sandboxes.restore()
        await self.containers.restore()
        for container in self.containers.all():
            if self.sandboxes.find(container.sandbox_id) is None:
                await self.containers.remove(container.id)
        await self.collect_images()
        log.info(
            "restored",
            sandboxes=len(self.sandboxes.all()),
            containers=len(self.containers.all()),
            images=len(self.images.list()),
        )

    async def collect_images(self) -> None:
        await asyncio.to_thread(self.images.collect, self.containers.used_layers())

    # ---- Sandboxes

    async def run_sandbox(self, config: cri.PodSandboxConfig, handler: str) -> str:
        if handler not in ("", Path(self.runtime.binary).name):
            raise InvalidArgument(f'no runtime handler "{handler}"')
        meta = config.metadata
        key = f"sandbox/{meta.namespace}/{meta.name}/{meta.uid}/{meta.attempt}"
        async with self._locks(key):
            # A client whose deadline passed comes again with the same metadata.
            for record in self.sandboxes.all():
                if self.sandboxes.config(record.id).metadata == meta:
                    if self.sandboxes.ready(record):
                        return record.id
                    await self.remove_sandbox(record.id)
            sandbox_id = secrets.token_hex(32)
            await self.sandboxes.run(sandbox_id, config, handler)
            self._sandbox_changed(sandbox_id, cri.CONTAINER_CREATED_EVENT)
            self._sandbox_changed(sandbox_id, cri.CONTAINER_STARTED_EVENT)
            return sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        async with self._locks(sandbox_id):
            await asyncio.gather(
                *(self.containers.stop(c.id, 0) for c in self.containers.of_sandbox(sandbox_id))
            )
            await self.sandboxes.stop(sandbox_id)
            self._sandbox_changed(sandbox_id, cri.CONTAINER_STOPPED_EVENT)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        async with self._locks(sandbox_id):
            for container in self.containers.of_sandbox(sandbox_id):
                await self.remove_container(container.id)
            record = self.sandboxes.find(sandbox_id)
            if record is None:
                return
            parent = self.sandboxes.config(sandbox_id).linux.cgroup_parent
            await self.sandboxes.remove(sandbox_id)
            if not parent:
                self.cgroups.remove(f"{self.facts.cgroup_parent}/{sandbox_id}")
            self._publish(
                sandbox_id, cri.CONTAINER_DELETED_EVENT, cri.PodSandboxStatus(id=sandbox_id)
            )

    def sandbox_status(self, record: SandboxRecord) -> cri.PodSandboxStatus:
        config = self.sandboxes.config(record.id)
        return convert.sandbox_status(record, config, self.sandboxes.ready(record))

    # ---- Containers

    async def create_container(self, sandbox_id: str, config: cri.ContainerConfig) -> str:
        if not config.metadata.name:
            raise InvalidArgument("the container has no name")
        async with self._locks(sandbox_id):
            sandbox = self.sandboxes.get(sandbox_id)
            if not self.sandboxes.ready(sandbox):
                raise FailedPrecondition(f'sandbox "{sandbox_id}" is not ready')
            for record in self.containers.of_sandbox(sandbox_id):
                same = self.containers.config(record.id).metadata == config.metadata
                if same and record.complete and state(record) == cri.CONTAINER_CREATED:
                    return record.id
                if same:
                    raise FailedPrecondition(
                        f'container "{config.metadata.name}" attempt {config.metadata.attempt} '
                        "exists already"
                    )
            container_id = secrets.token_hex(32)
            await self.containers.create(container_id, sandbox, config)
            return container_id

    async def start_container(self, container_id: str) -> None:
        async with self._locks(container_id):
            await self.containers.start(container_id)

    async def remove_container(self, container_id: str) -> None:
        async with self._locks(container_id):
            await self.containers.remove(container_id)

    async def update_container(self, container_id: str, res: cri.LinuxContainerResources) -> None:
        async with self._locks(container_id):
            await self.containers.update(container_id, res)

    def container_status(self, record: ContainerRecord) -> cri.ContainerStatus:
        return convert.container_status(record, self.containers.config(record.id))

    def container_statuses(self, sandbox_id: str) -> list[cri.ContainerStatus]:
        records = self.containers.of_sandbox(sandbox_id)
        return [self.container_status(r) for r in records if r.complete]

    # ---- Events

    def _container_changed(
        self, record: ContainerRecord, kind: cri.ContainerEventType.ValueType
    ) -> None:
        sandbox = self.sandboxes.find(record.sandbox_id)
        status = self.sandbox_status(sandbox) if sandbox else cri.PodSandboxStatus()
        self._publish(record.id, kind, status)

    def _sandbox_changed(self, sandbox_id: str, kind: cri.ContainerEventType.ValueType) -> None:
        record = self.sandboxes.find(sandbox_id)
        if record is not None:
            self._publish(sandbox_id, kind, self.sandbox_status(record))

    def _publish(
        self, subject: str, kind: cri.ContainerEventType.ValueType, status: cri.PodSandboxStatus
    ) -> None:
        if not self.events.wanted:
            return
        self.events.publish(
            cri.ContainerEventResponse(
                container_id=subject,
                container_event_type=kind,
                created_at=time.time_ns(),
                pod_sandbox_status=status,
                containers_statuses=self.container_statuses(status.id),
            )
        )
