"""Reads one pod from the runtime and turns the CRI messages into records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.cri.records import ContainerRecord, PodRecord, SandboxRecord, State
from worker.kubelet.cri.runtime import Runtime, RuntimeFailure
from worker.kubelet.pod import names
from worker.kubelet.volumes.podfiles import PodFiles

_STATES = {
    cri.CONTAINER_CREATED: State.CREATED,
    cri.CONTAINER_RUNNING: State.RUNNING,
    cri.CONTAINER_EXITED: State.EXITED,
    cri.CONTAINER_UNKNOWN: State.UNKNOWN,
}


async def inspect(runtime: Runtime, files: PodFiles, uid: str, runtime_name: str) -> PodRecord:
    """Everything the runtime has for the pod, newest first."""
    labels = {names.POD_UID: uid}
    sandboxes, containers = await asyncio.gather(
        runtime.list_sandboxes(labels), runtime.list_containers(labels)
    )
    sandbox_statuses, container_statuses = await asyncio.gather(
        asyncio.gather(*(_sandbox(runtime, item.id) for item in sandboxes)),
        asyncio.gather(*(_container(runtime, item.id) for item in containers)),
    )
    homes = {item.id: item.pod_sandbox_id for item in containers}
    present = [status for status in container_statuses if status is not None]
    return pod_record(
        uid,
        [status for status in sandbox_statuses if status is not None],
        [(status, homes[status.id]) for status in present],
        runtime_name,
        await _messages(files, present),
    )


async def _messages(files: PodFiles, statuses: Sequence[cri.ContainerStatus]) -> dict[str, str]:
    """What ended containers left for the status, unless the runtime itself has something to say."""
    silent = [s for s in statuses if s.state == cri.CONTAINER_EXITED and not s.message]
    texts = await asyncio.gather(*(files.message(status) for status in silent))
    return {status.id: text for status, text in zip(silent, texts, strict=True)}


async def _sandbox(runtime: Runtime, sandbox_id: str) -> cri.PodSandboxStatus | None:
    """None when it went away between the list and now."""
    try:
        return await runtime.sandbox_status(sandbox_id)
    except RuntimeFailure as error:
        if error.not_found:
            return None
        raise


async def _container(runtime: Runtime, container_id: str) -> cri.ContainerStatus | None:
    try:
        return await runtime.container_status(container_id)
    except RuntimeFailure as error:
        if error.not_found:
            return None
        raise


def pod_record(
    uid: str,
    sandboxes: Sequence[cri.PodSandboxStatus],
    containers: Sequence[tuple[cri.ContainerStatus, str]],
    runtime_name: str,
    messages: Mapping[str, str],
) -> PodRecord:
    boxes = sorted(map(sandbox_record, sandboxes), key=lambda s: s.created_at, reverse=True)
    runs = [
        container_record(status, home, runtime_name, messages.get(status.id, ""))
        for status, home in containers
    ]
    runs.sort(key=lambda c: (c.created_at, c.attempt), reverse=True)
    first = next(iter(sandboxes), None)
    return PodRecord(
        uid=uid,
        namespace=first.metadata.namespace if first else "",
        name=first.metadata.name if first else "",
        sandboxes=tuple(boxes),
        containers=tuple(runs),
    )


def sandbox_record(status: cri.PodSandboxStatus) -> SandboxRecord:
    network = status.network
    ips = (network.ip, *(extra.ip for extra in network.additional_ips))
    options = status.linux.namespaces.options
    return SandboxRecord(
        id=status.id,
        attempt=status.metadata.attempt,
        ready=status.state == cri.SANDBOX_READY,
        created_at=status.created_at / 1e9,
        ips=tuple(ip for ip in ips if ip),
        host_network=options.network == cri.NODE,
    )


def container_record(
    status: cri.ContainerStatus, home: str, runtime_name: str, left_message: str
) -> ContainerRecord:
    grace = status.annotations.get(names.POD_GRACE, "")
    return ContainerRecord(
        id=status.id,
        name=status.labels.get(names.CONTAINER_NAME) or status.metadata.name,
        sandbox_id=home,
        attempt=status.metadata.attempt,
        state=_STATES.get(status.state, State.UNKNOWN),
        created_at=status.created_at / 1e9,
        started_at=status.started_at / 1e9,
        finished_at=status.finished_at / 1e9,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message or left_message,
        image=status.image.user_specified_image or status.image.image,
        image_id=status.image_id or status.image_ref,
        hash=status.annotations.get(names.CONTAINER_HASH, ""),
        log_path=status.log_path,
        grace_seconds=int(grace) if grace.isdigit() else None,
        runtime=runtime_name,
    )
