"""securityContext (pod and container) as CRI messages. Pure.

Follows upstream's `kuberuntime/security_context.go`.
"""

from __future__ import annotations

from muster.api import core
from muster.cri import api_pb2 as cri
from worker.kubelet.env import ConfigError

# What a container may not read or write under /proc and /sys unless it is privileged
# (`securitycontext.GetMaskedPaths`).
MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = (
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
)  # fmt: skip


def is_privileged(container: core.Container) -> bool:
    return bool(container.security_context and container.security_context.privileged)


def namespace_options(spec: core.PodSpec) -> cri.NamespaceOption:
    if spec.host_pid:
        pid = cri.NODE
    elif spec.share_process_namespace:
        pid = cri.POD
    else:
        pid = cri.CONTAINER
    return cri.NamespaceOption(
        network=cri.NODE if spec.host_network else cri.POD,
        pid=pid,
        ipc=cri.NODE if spec.host_ipc else cri.POD,
    )


def sandbox_security(spec: core.PodSpec) -> cri.LinuxSandboxSecurityContext:
    context = spec.security_context or core.PodSecurityContext()
    message = cri.LinuxSandboxSecurityContext(
        namespace_options=namespace_options(spec),
        privileged=any(is_privileged(c) for c in (*spec.init_containers, *spec.containers)),
        seccomp=_seccomp(context.seccomp_profile),
        supplemental_groups=_groups(context),
    )
    if context.run_as_user is not None:
        message.run_as_user.value = context.run_as_user
        # The CRI refuses a sandbox that has a group and no user.
        if context.run_as_group is not None:
            message.run_as_group.value = context.run_as_group
    return message


def container_security(
    spec: core.PodSpec, container: core.Container
) -> cri.LinuxContainerSecurityContext:
    """The container's own settings win over the pod's."""
    pod = spec.security_context or core.PodSecurityContext()
    own = container.security_context or core.SecurityContext()
    privileged = bool(own.privileged)
    message = cri.LinuxContainerSecurityContext(
        privileged=privileged,
        namespace_options=namespace_options(spec),
        readonly_rootfs=bool(own.read_only_root_filesystem),
        supplemental_groups=_groups(pod),
        no_new_privs=own.allow_privilege_escalation is False and not privileged,
        seccomp=_seccomp(own.seccomp_profile or pod.seccomp_profile),
        apparmor=cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined),
    )
    if own.capabilities:
        message.capabilities.add_capabilities.extend(own.capabilities.add)
        message.capabilities.drop_capabilities.extend(own.capabilities.drop)
    if not privileged and own.proc_mount != "Unmasked":
        message.masked_paths.extend(MASKED_PATHS)
        message.readonly_paths.extend(READONLY_PATHS)
    _set_user(message, own, pod)
    return message


def _set_user(
    message: cri.LinuxContainerSecurityContext,
    own: core.SecurityContext,
    pod: core.PodSecurityContext,
) -> None:
    user = own.run_as_user if own.run_as_user is not None else pod.run_as_user
    group = own.run_as_group if own.run_as_group is not None else pod.run_as_group
    if user is not None:
        message.run_as_user.value = user
    if group is not None:
        message.run_as_group.value = group


def _groups(context: core.PodSecurityContext) -> list[int]:
    groups = list(context.supplemental_groups)
    if context.fs_group is not None and context.fs_group not in groups:
        groups.append(context.fs_group)
    return groups


def _seccomp(profile: core.SeccompProfile | None) -> cri.SecurityProfile:
    """Unconfined unless asked for, as upstream without SeccompDefault."""
    if profile is None or profile.type in ("", "Unconfined"):
        return cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined)
    if profile.type == "RuntimeDefault":
        return cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)
    return cri.SecurityProfile(
        profile_type=cri.SecurityProfile.Localhost, localhost_ref=profile.localhost_profile
    )


def verify_non_root(pod: core.Pod, container: core.Container, image: cri.Image) -> None:
    """`runAsNonRoot`: refuse a container that would run as uid 0, or as an unknown name."""
    shared = pod.spec.security_context or core.PodSecurityContext()
    own = container.security_context or core.SecurityContext()
    wanted = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    if not wanted:
        return
    user = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    where = f'(pod: "{pod.metadata.name}_{pod.metadata.namespace}", container: {container.name})'
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image.HasField("uid") and image.uid.value:
        return
    if image.username and not image.HasField("uid"):
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root {where}"
        )
    raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
