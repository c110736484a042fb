"""CRI's RuntimeService: messages in, calls on the node, messages out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

from kube import __version__
from kube.rpc.service import CallContext
from kube.stubs.cri import api_pb2 as cri
from worker.runtime import kernel
from worker.runtime.containers.lifecycle import state
from worker.runtime.containers.streaming import StreamingServer, attach_session, exec_session
from worker.runtime.errors import NotFound, RuntimeFailure, Unimplemented
from worker.runtime.node import ContainerHost
from worker.runtime.records import ContainerRecord, SandboxRecord
from worker.runtime.service import convert


class RuntimeService:
    def __init__(self, node: ContainerHost, streaming: StreamingServer) -> None:
        self._node = node
        self._streaming = streaming

    async def version(self, request: cri.VersionRequest, _: CallContext) -> cri.VersionResponse:
        return cri.VersionResponse(
            version="0.1.0",  # the version of the kubelet's runtime API, frozen upstream
            runtime_name="muster",
            runtime_version=__version__,
            runtime_api_version="v1",
        )

    async def status(self, request: cri.StatusRequest, _: CallContext) -> cri.StatusResponse:
        problem = self._node.cni.problem()
        response = cri.StatusResponse(
            status=cri.RuntimeStatus(
                conditions=[
                    cri.RuntimeCondition(type="RuntimeReady", status=True),
                    cri.RuntimeCondition(
                        type="NetworkReady",
                        status=problem is None,
                        reason="" if problem is None else "NetworkPluginNotReady",
                        message=problem or "",
                    ),
                ]
            ),
            runtime_handlers=[
                cri.RuntimeHandler(
                    name=name,
                    features=cri.RuntimeHandlerFeatures(
                        user_namespaces=self._node.has_user_namespaces
                    ),
                )
                for name in ("", Path(self._node.runtime.binary).name)
            ],
            features=cri.RuntimeFeatures(supplemental_groups_policy=True),
        )
        if request.verbose:
            response.info["ociRuntime"] = await self._node.runtime.version()
            response.info["root"] = json.dumps(str(self._node.places.root))
        return response

    async def runtime_config(
        self, request: cri.RuntimeConfigRequest, _: CallContext
    ) -> cri.RuntimeConfigResponse:
        return cri.RuntimeConfigResponse(
            linux=cri.LinuxRuntimeConfiguration(cgroup_driver=cri.CGROUPFS)
        )

    async def update_runtime_config(
        self, request: cri.UpdateRuntimeConfigRequest, _: CallContext
    ) -> cri.UpdateRuntimeConfigResponse:
        # The pod CIDR reaches the CNI configuration through the node network agent.
        return cri.UpdateRuntimeConfigResponse()

    # ---- Sandboxes

    async def run_pod_sandbox(
        self, request: cri.RunPodSandboxRequest, _: CallContext
    ) -> cri.RunPodSandboxResponse:
        sandbox_id = await self._node.run_sandbox(request.config, request.runtime_handler)
        return cri.RunPodSandboxResponse(pod_sandbox_id=sandbox_id)

    async def stop_pod_sandbox(
        self, request: cri.StopPodSandboxRequest, _: CallContext
    ) -> cri.StopPodSandboxResponse:
        await self._node.stop_sandbox(request.pod_sandbox_id)
        return cri.StopPodSandboxResponse()

    async def remove_pod_sandbox(
        self, request: cri.RemovePodSandboxRequest, _: CallContext
    ) -> cri.RemovePodSandboxResponse:
        await self._node.remove_sandbox(request.pod_sandbox_id)
        return cri.RemovePodSandboxResponse()

    async def pod_sandbox_status(
        self, request: cri.PodSandboxStatusRequest, _: CallContext
    ) -> cri.PodSandboxStatusResponse:
        record = self._node.sandboxes.get(request.pod_sandbox_id)
        response = cri.PodSandboxStatusResponse(
            status=self._node.sandbox_status(record),
            containers_statuses=self._node.container_statuses(record.id),
            timestamp=time.time_ns(),
        )
        if request.verbose:
            response.info["netns"] = json.dumps(self._node.sandboxes.netns(record.id))
        return response

    async def list_pod_sandbox(
        self, request: cri.ListPodSandboxRequest, _: CallContext
    ) -> cri.ListPodSandboxResponse:
        items = []
        for record in self._node.sandboxes.all():
            config = self._node.sandboxes.config(record.id)
            ready = self._node.sandboxes.ready(record)
            if convert.sandbox_matches(request.filter, record, config, ready):
                items.append(convert.sandbox(record, config, ready))
        return cri.ListPodSandboxResponse(items=items)

    async def update_pod_sandbox_resources(
        self, request: cri.UpdatePodSandboxResourcesRequest, _: CallContext
    ) -> cri.UpdatePodSandboxResourcesResponse:
        # The kubelet owns the pod's cgroup; a sandbox without a process has nothing to resize.
        self._node.sandboxes.get(request.pod_sandbox_id)
        return cri.UpdatePodSandboxResourcesResponse()

    # ---- Containers

    async def create_container(
        self, request: cri.CreateContainerRequest, _: CallContext
    ) -> cri.CreateContainerResponse:
        container_id = await self._node.create_container(request.pod_sandbox_id, request.config)
        return cri.CreateContainerResponse(container_id=container_id)

    async def start_container(
        self, request: cri.StartContainerRequest, _: CallContext
    ) -> cri.StartContainerResponse:
        await self._node.start_container(request.container_id)
        return cri.StartContainerResponse()

    async def stop_container(
        self, request: cri.StopContainerRequest, _: CallContext
    ) -> cri.StopContainerResponse:
        await self._node.containers.stop(request.container_id, float(request.timeout))
        return cri.StopContainerResponse()

    async def remove_container(
        self, request: cri.RemoveContainerRequest, _: CallContext
    ) -> cri.RemoveContainerResponse:
        await self._node.remove_container(request.container_id)
        return cri.RemoveContainerResponse()

    async def list_containers(
        self, request: cri.ListContainersRequest, _: CallContext
    ) -> cri.ListContainersResponse:
        found = []
        for record in self._node.containers.all():
            config = self._node.containers.config(record.id)
            if convert.container_matches(request.filter, record, config):
                found.append(convert.container(record, config))
        return cri.ListContainersResponse(containers=found)

    async def container_status(
        self, request: cri.ContainerStatusRequest, _: CallContext
    ) -> cri.ContainerStatusResponse:
        record = self._node.containers.get(request.container_id)
        response = cri.ContainerStatusResponse(status=self._node.container_status(record))
        if request.verbose:
            bundle = self._node.containers.bundle(record.id)
            response.info["bundle"] = json.dumps(str(bundle))
        return response

    async def update_container_resources(
        self, request: cri.UpdateContainerResourcesRequest, _: CallContext
    ) -> cri.UpdateContainerResourcesResponse:
        await self._node.update_container(request.container_id, request.linux)
        return cri.UpdateContainerResourcesResponse()

    async def reopen_container_log(
        self, request: cri.ReopenContainerLogRequest, _: CallContext
    ) -> cri.ReopenContainerLogResponse:
        await self._node.containers.reopen_log(request.container_id)
        return cri.ReopenContainerLogResponse()

    # ---- Commands and streams

    async def exec_sync(self, request: cri.ExecSyncRequest, _: CallContext) -> cri.ExecSyncResponse:
        record = self._node.containers.get_running(request.container_id)
        timeout = float(request.timeout) if request.timeout > 0 else None
        done = await self._node.execs.run(record.id, request.cmd, timeout)
        return cri.ExecSyncResponse(stdout=done.stdout, stderr=done.stderr, exit_code=done.code)

    async def exec(self, request: cri.ExecRequest, _: CallContext) -> cri.ExecResponse:
        self._node.containers.get_running(request.container_id)
        return cri.ExecResponse(url=self._streaming.url(exec_session(request)))

    async def attach(self, request: cri.AttachRequest, _: CallContext) -> cri.AttachResponse:
        record = self._node.containers.get_running(request.container_id)
        session = attach_session(request, self._node.containers.monitored(record))
        return cri.AttachResponse(url=self._streaming.url(session))

    async def port_forward(
        self, request: cri.PortForwardRequest, _: CallContext
    ) -> cri.PortForwardResponse:
        raise Unimplemented("this runtime does not forward ports")

    async def checkpoint_container(
        self, request: cri.CheckpointContainerRequest, _: CallContext
    ) -> cri.CheckpointContainerResponse:
        raise Unimplemented("this runtime does not checkpoint containers")

    # ---- Stats and events

    async def container_stats(
        self, request: cri.ContainerStatsRequest, _: CallContext
    ) -> cri.ContainerStatsResponse:
        stats = self._stats(self._node.containers.get(request.container_id))
        if stats is None:
            raise NotFound(f'container "{request.container_id}" has no cgroup any more')
        return cri.ContainerStatsResponse(stats=stats)

    async def list_container_stats(
        self, request: cri.ListContainerStatsRequest, _: CallContext
    ) -> cri.ListContainerStatsResponse:
        wanted = cri.ContainerFilter(
            id=request.filter.id,
            pod_sandbox_id=request.filter.pod_sandbox_id,
            label_selector=request.filter.label_selector,
        )
        found = (
            self._stats(record)
            for record in self._node.containers.all()
            if convert.container_matches(wanted, record, self._node.containers.config(record.id))
        )
        return cri.ListContainerStatsResponse(stats=[s for s in found if s is not None])

    async def pod_sandbox_stats(
        self, request: cri.PodSandboxStatsRequest, _: CallContext
    ) -> cri.PodSandboxStatsResponse:
        record = self._node.sandboxes.get(request.pod_sandbox_id)
        return cri.PodSandboxStatsResponse(stats=await self._pod_stats(record))

    async def list_pod_sandbox_stats(
        self, request: cri.ListPodSandboxStatsRequest, _: CallContext
    ) -> cri.ListPodSandboxStatsResponse:
        wanted = cri.PodSandboxFilter(
            id=request.filter.id, label_selector=request.filter.label_selector
        )
        stats = []
        for record in self._node.sandboxes.all():
            ready = self._node.sandboxes.ready(record)
            config = self._node.sandboxes.config(record.id)
            if ready and convert.sandbox_matches(wanted, record, config, ready):
                stats.append(await self._pod_stats(record))
        return cri.ListPodSandboxStatsResponse(stats=stats)

    async def get_container_events(
        self, request: cri.GetEventsRequest, context: CallContext
    ) -> AsyncIterator[cri.ContainerEventResponse]:
        with self._node.events.subscription() as events:
            # Tells the client that nothing is missed from here on.
            await context.send_headers()
            async for event in events:
                yield event

    async def list_metric_descriptors(
        self, request: cri.ListMetricDescriptorsRequest, _: CallContext
    ) -> cri.ListMetricDescriptorsResponse:
        return cri.ListMetricDescriptorsResponse()

    async def list_pod_sandbox_metrics(
        self, request: cri.ListPodSandboxMetricsRequest, _: CallContext
    ) -> cri.ListPodSandboxMetricsResponse:
        return cri.ListPodSandboxMetricsResponse()

    def _stats(self, record: ContainerRecord) -> cri.ContainerStats | None:
        if state(record) != cri.CONTAINER_RUNNING:
            return None
        usage = self._node.cgroups.usage(record.cgroups_path)
        if usage is None:
            return None
        config = self._node.containers.config(record.id)
        stats = convert.container_stats(record, config, usage, time.time_ns())
        if (layer := self._node.containers.layer_usage(record.id)) is not None:
            stats.writable_layer.timestamp = layer.at
            stats.writable_layer.used_bytes.value = layer.bytes
        return stats

    async def _pod_stats(self, record: SandboxRecord) -> cri.PodSandboxStats:
        config, now = self._node.sandboxes.config(record.id), time.time_ns()
        stats = cri.PodSandboxStats(
            attributes=cri.PodSandboxAttributes(
                id=record.id,
                metadata=config.metadata,
                labels=config.labels,
                annotations=config.annotations,
            )
        )
        linux = stats.linux
        parent = config.linux.cgroup_parent or f"{self._node.facts.cgroup_parent}/{record.id}"
        if (usage := self._node.cgroups.usage(parent)) is not None:
            linux.cpu.CopyFrom(convert.cpu_usage(usage, now))
            linux.memory.CopyFrom(convert.memory_usage(usage, now))
        own = (self._stats(c) for c in self._node.containers.of_sandbox(record.id))
        linux.containers.extend(s for s in own if s is not None)
        if netns := self._node.sandboxes.netns(record.id):
            text = await asyncio.to_thread(_net_dev, Path(netns))
            linux.network.CopyFrom(convert.network_usage(text, now))
        return stats


def _net_dev(netns: Path) -> str:
    """/proc/net/dev as seen inside a network namespace."""
    texts: list[str] = []
    try:
        kernel.run_in_network_namespace(
            netns, lambda: texts.append(Path("/proc/thread-self/net/dev").read_text())
        )
    except OSError as error:
        raise RuntimeFailure(f"network namespace {netns}: {error}") from error
    return texts[0]
