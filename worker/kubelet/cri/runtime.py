"""The kubelet's CRI client: typed calls over a unix socket, timed and counted.

Talks to any `runtime.v1` server. Calls raise `RuntimeFailure`, which keeps the gRPC code.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from kube.rpc.channel import ChannelOptions
from kube.rpc.dial import open_channel
from kube.rpc.errors import Code, RpcError
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet import metrics

ResponseT = TypeVar("ResponseT")

# A pull may take long and is bounded by the worker; everything else has to come back.
CALL_SECONDS = 120.0
_OPTIONS = ChannelOptions(
    max_receive_bytes=16 * 2**20 + 2**16,  # upstream's maxMsgSize: ExecSync carries 16 MiB
    backoff_seconds=(0.1, 1.0),
    authority="localhost",  # containerd's Go server refuses a socket's path
)


class RuntimeFailure(Exception):
    """A CRI call failed. `code` says how, the text is the runtime's."""

    def __init__(self, operation: str, code: Code, details: str) -> None:
        super().__init__(f"{operation}: {details}")
        self.operation, self.code, self.details = operation, code, details

    @property
    def not_found(self) -> bool:
        return self.code is Code.NOT_FOUND

    @property
    def unimplemented(self) -> bool:
        return self.code is Code.UNIMPLEMENTED


class Runtime:
    """One runtime endpoint. Use as an async context manager."""

    def __init__(self, endpoint: str) -> None:
        target = endpoint if "://" in endpoint else f"unix://{endpoint}"
        self._channel = open_channel(target, options=_OPTIONS)
        services = cri.DESCRIPTOR.services_by_name
        self._runtime = self._channel.stub(services["RuntimeService"])
        self._image = self._channel.stub(services["ImageService"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.close()

    # -- runtime

    async def version(self) -> cri.VersionResponse:
        return await self._call("version", self._runtime.Version, cri.VersionRequest())

    async def status(self) -> cri.StatusResponse:
        return await self._call("status", self._runtime.Status, cri.StatusRequest(), timeout=10)

    async def update_pod_cidr(self, cidr: str) -> None:
        config = cri.RuntimeConfig(network_config=cri.NetworkConfig(pod_cidr=cidr))
        request = cri.UpdateRuntimeConfigRequest(runtime_config=config)
        await self._call("update_runtime_config", self._runtime.UpdateRuntimeConfig, request)

    # -- sandboxes

    async def run_sandbox(self, config: cri.PodSandboxConfig, handler: str = "") -> str:
        request = cri.RunPodSandboxRequest(config=config, runtime_handler=handler)
        response = await self._call("run_podsandbox", self._runtime.RunPodSandbox, request)
        return str(response.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._gone_is_done(
            "stop_podsandbox", self._runtime.StopPodSandbox, request, CALL_SECONDS
        )

    async def remove_sandbox(self, sandbox_id: str) -> None:
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._gone_is_done(
            "remove_podsandbox", self._runtime.RemovePodSandbox, request, CALL_SECONDS
        )

    async def list_sandboxes(self, labels: dict[str, str] | None = None) -> list[cri.PodSandbox]:
        wanted = cri.PodSandboxFilter(label_selector=labels or {})
        request = cri.ListPodSandboxRequest(filter=wanted)
        response = await self._call("list_podsandbox", self._runtime.ListPodSandbox, request)
        return list(response.items)

    async def sandbox_status(self, sandbox_id: str) -> cri.PodSandboxStatus:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        response = await self._call("podsandbox_status", self._runtime.PodSandboxStatus, request)
        return cast(cri.PodSandboxStatus, response.status)

    # -- containers

    async def create_container(
        self, sandbox_id: str, config: cri.ContainerConfig, sandbox: cri.PodSandboxConfig
    ) -> str:
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox
        )
        response = await self._call("create_container", self._runtime.CreateContainer, request)
        return str(response.container_id)

    async def start_container(self, container_id: str) -> None:
        request = cri.StartContainerRequest(container_id=container_id)
        await self._call("start_container", self._runtime.StartContainer, request)

    async def stop_container(self, container_id: str, grace: float) -> None:
        seconds = max(math.ceil(grace), 0)
        request = cri.StopContainerRequest(container_id=container_id, timeout=seconds)
        await self._gone_is_done(
            "stop_container", self._runtime.StopContainer, request, CALL_SECONDS + grace
        )

    async def remove_container(self, container_id: str) -> None:
        request = cri.RemoveContainerRequest(container_id=container_id)
        await self._gone_is_done(
            "remove_container", self._runtime.RemoveContainer, request, CALL_SECONDS
        )

    async def list_containers(self, labels: dict[str, str] | None = None) -> list[cri.Container]:
        wanted = cri.ContainerFilter(label_selector=labels or {})
        request = cri.ListContainersRequest(filter=wanted)
        response = await self._call("list_containers", self._runtime.ListContainers, request)
        return list(response.containers)

    async def container_status(self, container_id: str) -> cri.ContainerStatus:
        request = cri.ContainerStatusRequest(container_id=container_id)
        response = await self._call("container_status", self._runtime.ContainerStatus, request)
        return cast(cri.ContainerStatus, response.status)

    async def reopen_log(self, container_id: str) -> None:
        """Begin a new log file: the old one was renamed."""
        request = cri.ReopenContainerLogRequest(container_id=container_id)
        await self._call("reopen_container_log", self._runtime.ReopenContainerLog, request)

    def events(self) -> AsyncIterator[cri.ContainerEventResponse]:
        """The runtime's event stream; ends or fails with `RpcError`."""
        stream = self._runtime.GetContainerEvents(cri.GetEventsRequest())
        return cast(AsyncIterator[cri.ContainerEventResponse], stream)

    # -- streaming

    async def exec_sync(
        self, container_id: str, command: Iterable[str], timeout: float
    ) -> cri.ExecSyncResponse:
        seconds = max(int(timeout), 1)
        request = cri.ExecSyncRequest(container_id=container_id, cmd=command, timeout=seconds)
        call = self._runtime.ExecSync
        return await self._call("exec_sync", call, request, timeout=seconds + 10)

    async def exec_url(self, request: cri.ExecRequest) -> str:
        response = await self._call("exec", self._runtime.Exec, request)
        return str(response.url)

    async def attach_url(self, request: cri.AttachRequest) -> str:
        response = await self._call("attach", self._runtime.Attach, request)
        return str(response.url)

    # -- stats

    async def container_stats(self) -> list[cri.ContainerStats]:
        request = cri.ListContainerStatsRequest()
        call = self._runtime.ListContainerStats
        return list((await self._call("list_container_stats", call, request)).stats)

    async def sandbox_stats(self) -> list[cri.PodSandboxStats]:
        """Empty for a runtime that has none (containerd before 1.7)."""
        request = cri.ListPodSandboxStatsRequest()
        try:
            call = self._runtime.ListPodSandboxStats
            return list((await self._call("list_podsandbox_stats", call, request)).stats)
        except RuntimeFailure as error:
            if error.unimplemented:
                return []
            raise

    # -- images

    async def image_status(self, image: str) -> cri.Image | None:
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=image))
        response = await self._call("image_status", self._image.ImageStatus, request)
        return cast(cri.Image, response.image) if response.HasField("image") else None

    async def pull_image(self, image: str, sandbox: cri.PodSandboxConfig | None = None) -> str:
        request = cri.PullImageRequest(image=cri.ImageSpec(image=image), sandbox_config=sandbox)
        response = await self._call("pull_image", self._image.PullImage, request, timeout=None)
        return str(response.image_ref)

    async def list_images(self) -> list[cri.Image]:
        response = await self._call("list_images", self._image.ListImages, cri.ListImagesRequest())
        return list(response.images)

    # -- calling

    async def _gone_is_done(
        self,
        operation: str,
        method: Callable[..., Awaitable[Any]],
        request: object,
        timeout: float,
    ) -> None:
        """Stops and removals are idempotent: what is not there is stopped and removed."""
        try:
            await self._call(operation, method, request, timeout=timeout)
        except RuntimeFailure as error:
            if not error.not_found:
                raise

    async def _call(
        self,
        operation: str,
        method: Callable[..., Awaitable[ResponseT]],
        request: object,
        *,
        timeout: float | None = CALL_SECONDS,
    ) -> ResponseT:
        metrics.RUNTIME_OPERATIONS.labels(operation).inc()
        metrics.RUNTIME_ERRORS.labels(operation)  # at 0: a rate does not miss the first failure
        began = time.monotonic()
        try:
            return await method(request, timeout=timeout)
        except RpcError as error:
            metrics.RUNTIME_ERRORS.labels(operation).inc()
            raise RuntimeFailure(operation, error.code, error.message) from error
        finally:
            metrics.RUNTIME_SECONDS.labels(operation).observe(time.monotonic() - began)
