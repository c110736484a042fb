"""CRI sandbox and container configurations of a pod. Pure: everything read comes in.

Follows upstream's `kuberuntime_sandbox.go` and `kuberuntime_container.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kube.api import core
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.pod import names
from worker.kubelet.pod.dns import Resolver, pod_hostname
from worker.kubelet.pod.env import ConfigError
from worker.kubelet.pod.expand import expand_all
from worker.kubelet.pod.qos import (
    CPU_PERIOD_US,
    CgroupLimits,
    container_limits,
    oom_score_adj,
    pod_limits,
)
from worker.kubelet.pod.security import SeccompSettings, container_security, sandbox_security

_PROTOCOLS = {"TCP": cri.TCP, "UDP": cri.UDP, "SCTP": cri.SCTP, "": cri.TCP}
_PROPAGATION = {
    "": cri.PROPAGATION_PRIVATE,
    "None": cri.PROPAGATION_PRIVATE,
    "HostToContainer": cri.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": cri.PROPAGATION_BIDIRECTIONAL,
}


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What of the node shows in configurations."""

    memory_bytes: int
    cgroup_root: str
    pod_logs: Path
    seccomp: SeccompSettings = field(default_factory=SeccompSettings)


def sandbox_config(
    pod: core.Pod,
    attempt: int,
    resolver: Resolver,
    cgroup_parent: str,
    node: NodeShape,
    user: cri.UserNamespace | None = None,
) -> cri.PodSandboxConfig:
    meta = pod.metadata
    directory = names.pod_log_dir(node.pod_logs, meta.namespace, meta.name, meta.uid)
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=meta.name, namespace=meta.namespace, uid=meta.uid, attempt=attempt
        ),
        hostname="" if pod.spec.host_network else pod_hostname(pod),
        log_directory=str(directory),
        dns_config=cri.DNSConfig(
            servers=resolver.servers, searches=resolver.searches, options=resolver.options
        ),
        port_mappings=_port_mappings(pod),
        labels={**meta.labels, **_pod_labels(pod)},
        annotations={
            **meta.annotations,
            names.POD_GRACE: str(names.grace_seconds(pod)),
        },
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            security_context=sandbox_security(pod.spec, node.seccomp, user),
            sysctls=_sysctls(pod.spec),
            resources=_resources(pod_limits(pod.spec)),
        ),
    )


def _pod_labels(pod: core.Pod) -> dict[str, str]:
    meta = pod.metadata
    return {
        names.POD_NAME: meta.name,
        names.POD_NAMESPACE: meta.namespace,
        names.POD_UID: meta.uid,
    }


def _port_mappings(pod: core.Pod) -> list[cri.PortMapping]:
    if pod.spec.host_network:
        return []
    return [
        cri.PortMapping(
            protocol=_PROTOCOLS[port.protocol],
            container_port=port.container_port or 0,
            host_port=port.host_port or 0,
            host_ip=port.host_ip,
        )
        for container in pod.spec.containers
        for port in container.ports
        if port.host_port
    ]


def _sysctls(spec: core.PodSpec) -> dict[str, str]:
    context = spec.security_context
    return {s.name: s.value for s in context.sysctls} if context else {}


def _resources(limits: CgroupLimits, oom: int = 0) -> cri.LinuxContainerResources:
    return cri.LinuxContainerResources(
        cpu_period=CPU_PERIOD_US,
        cpu_quota=limits.cpu_quota_us or 0,
        cpu_shares=limits.cpu_shares,
        memory_limit_in_bytes=limits.memory_bytes or 0,
        oom_score_adj=oom,
    )


def container_config(
    pod: core.Pod,
    container: core.Container,
    attempt: int,
    image_ref: str,
    env: Mapping[str, str],
    mounts: Sequence[cri.Mount],
    node: NodeShape,
    user: cri.UserNamespace | None = None,
) -> cri.ContainerConfig:
    oom = oom_score_adj(pod.spec, container, node.memory_bytes)
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=container.name, attempt=attempt),
        image=cri.ImageSpec(image=image_ref, user_specified_image=container.image),
        command=expand_all(container.command, env),
        args=expand_all(container.args, env),
        working_dir=container.working_dir,
        envs=[cri.KeyValue(key=key, value=value) for key, value in env.items()],
        mounts=[_mapped(m, user) for m in mounts] if user else mounts,
        labels={**_pod_labels(pod), names.CONTAINER_NAME: container.name},
        annotations=_annotations(pod, container, attempt),
        log_path=names.log_path(container.name, attempt),
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdin_once),
        tty=bool(container.tty),
        linux=cri.LinuxContainerConfig(
            resources=_resources(container_limits(container), oom),
            security_context=container_security(pod.spec, container, node.seccomp, user),
        ),
        stop_signal=_stop_signal(container),
    )


def _mapped(wanted: cri.Mount, user: cri.UserNamespace) -> cri.Mount:
    """The same, its owners as the pod's user namespace sees them."""
    result = cri.Mount(uidMappings=user.uids, gidMappings=user.gids)
    result.MergeFrom(wanted)
    return result


def _annotations(pod: core.Pod, container: core.Container, attempt: int) -> dict[str, str]:
    """What a kubelet that was restarted must know about a container that still runs."""
    return {
        names.CONTAINER_HASH: names.container_hash(container),
        names.RESTART_COUNT: str(attempt),
        names.TERMINATION_PATH: termination_path(container),
        names.TERMINATION_POLICY: container.termination_message_policy or "File",
        names.POD_GRACE: str(names.grace_seconds(pod)),
    }


def termination_path(container: core.Container) -> str:
    return container.termination_message_path or names.DEFAULT_TERMINATION_PATH


def _stop_signal(container: core.Container) -> cri.Signal.ValueType:
    name = container.lifecycle.stop_signal if container.lifecycle else ""
    if not name:
        return cri.RUNTIME_DEFAULT
    try:
        return cri.Signal.Value(name.replace("+", "PLUS").replace("-", "MINUS"))
    except ValueError as error:
        raise ConfigError(f"unknown stop signal {name}") from error


def mount(
    container_path: str, host_path: Path, *, read_only: bool = False, propagation: str = ""
) -> cri.Mount:
    return cri.Mount(
        container_path=container_path,
        host_path=str(host_path),
        readonly=read_only,
        propagation=_PROPAGATION[propagation],
    )
