"""Records to CRI messages, and CRI's filters. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.containers.lifecycle import state
from worker.runtime.oci.cgroups import Usage
from worker.runtime.records import ContainerRecord, ImageRecord, SandboxRecord


def labels_match(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def sandbox_state(ready: bool) -> cri.PodSandboxState.ValueType:
    return cri.SANDBOX_READY if ready else cri.SANDBOX_NOTREADY


def sandbox(record: SandboxRecord, config: cri.PodSandboxConfig, ready: bool) -> cri.PodSandbox:
    return cri.PodSandbox(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(ready),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.runtime_handler,
    )


def sandbox_status(
    record: SandboxRecord, config: cri.PodSandboxConfig, ready: bool
) -> cri.PodSandboxStatus:
    status = cri.PodSandboxStatus(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(ready),
        created_at=record.created_at,
        network=cri.PodSandboxNetworkStatus(),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.runtime_handler,
    )
    status.linux.namespaces.options.CopyFrom(config.linux.security_context.namespace_options)
    if record.ips and ready:
        status.network.ip = record.ips[0]
        status.network.additional_ips.extend(cri.PodIP(ip=ip) for ip in record.ips[1:])
    return status


def sandbox_matches(
    wanted: cri.PodSandboxFilter, record: SandboxRecord, config: cri.PodSandboxConfig, ready: bool
) -> bool:
    if wanted.id and not record.id.startswith(wanted.id):
        return False
    if wanted.HasField("state") and wanted.state.state != sandbox_state(ready):
        return False
    return labels_match(wanted.label_selector, config.labels)


def container(record: ContainerRecord, config: cri.ContainerConfig) -> cri.Container:
    return cri.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox_id,
        metadata=config.metadata,
        image=config.image,
        image_ref=record.image_ref,
        image_id=record.image_id,
        state=state(record),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
    )


def container_status(record: ContainerRecord, config: cri.ContainerConfig) -> cri.ContainerStatus:
    status = cri.ContainerStatus(
        id=record.id,
        metadata=config.metadata,
        state=state(record),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        exit_code=record.exit_code,
        image=config.image,
        image_ref=record.image_ref,
        image_id=record.image_id,
        reason=record.reason,
        message=record.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=config.mounts,
        log_path=record.log_path,
        resources=cri.ContainerResources(linux=config.linux.resources),
        stop_signal=cri.Signal.Value(record.stop_signal)
        if record.stop_signal in cri.Signal.keys()  # noqa: SIM118 - an enum wrapper, not a dict
        else cri.RUNTIME_DEFAULT,
    )
    status.user.linux.uid, status.user.linux.gid = record.uid, record.gid
    status.user.linux.supplemental_groups.extend(record.additional_gids)
    return status


def container_matches(
    wanted: cri.ContainerFilter, record: ContainerRecord, config: cri.ContainerConfig
) -> bool:
    if wanted.id and not record.id.startswith(wanted.id):
        return False
    if wanted.pod_sandbox_id and record.sandbox_id != wanted.pod_sandbox_id:
        return False
    if wanted.HasField("state") and wanted.state.state != state(record):
        return False
    return labels_match(wanted.label_selector, config.labels)


def image(record: ImageRecord, user: str) -> cri.Image:
    message = cri.Image(
        id=record.id,
        repo_tags=record.tags,
        repo_digests=record.digests,
        size=record.size,
        spec=cri.ImageSpec(image=record.id),
    )
    name = user.partition(":")[0]
    if name.isdigit():
        message.uid.value = int(name)
    elif name:
        message.username = name
    else:
        message.uid.value = 0
    return message


def cpu_usage(usage: Usage, now: int) -> cri.CpuUsage:
    return cri.CpuUsage(timestamp=now, usage_core_nano_seconds=_u64(usage.cpu_nanoseconds))


def memory_usage(usage: Usage, now: int) -> cri.MemoryUsage:
    memory = cri.MemoryUsage(
        timestamp=now,
        working_set_bytes=_u64(usage.working_set_bytes),
        usage_bytes=_u64(usage.memory_bytes),
        rss_bytes=_u64(usage.rss_bytes),
        page_faults=_u64(usage.page_faults),
        major_page_faults=_u64(usage.major_page_faults),
    )
    if usage.memory_limit_bytes:
        available = max(0, usage.memory_limit_bytes - usage.working_set_bytes)
        memory.available_bytes.value = available
    return memory


def container_stats(
    record: ContainerRecord, config: cri.ContainerConfig, usage: Usage, now: int
) -> cri.ContainerStats:
    return cri.ContainerStats(
        attributes=cri.ContainerAttributes(
            id=record.id,
            metadata=config.metadata,
            labels=config.labels,
            annotations=config.annotations,
        ),
        cpu=cpu_usage(usage, now),
        memory=memory_usage(usage, now),
    )


def network_usage(proc_net_dev: str, now: int) -> cri.NetworkUsage:
    """From the text of /proc/net/dev of the pod's network namespace."""
    result = cri.NetworkUsage(timestamp=now)
    for line in proc_net_dev.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = [int(value) for value in rest.split()]
        usage = cri.NetworkInterfaceUsage(
            name=name.strip(),
            rx_bytes=_u64(fields[0]),
            rx_errors=_u64(fields[2]),
            tx_bytes=_u64(fields[8]),
            tx_errors=_u64(fields[10]),
        )
        if usage.name == "eth0":
            result.default_interface.CopyFrom(usage)
        elif usage.name != "lo":
            result.interfaces.append(usage)
    return result


def _u64(value: int) -> cri.UInt64Value:
    return cri.UInt64Value(value=value)
