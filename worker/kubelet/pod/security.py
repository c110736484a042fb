"""securityContext (pod and container) as CRI messages. Pure.

Follows upstream's `kuberuntime/security_context.go`.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from kube.api import core
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.pod.env import ConfigError

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


@dataclass(frozen=True, slots=True)
class SeccompSettings:
    """Where profiles of the node lie, and whether a pod that names none gets the runtime's."""

    root: str = "/var/lib/kubelet/seccomp"
    by_default: bool = False


def is_privileged(container: core.Container) -> bool:
    return bool(container.security_context and container.security_context.privileged)


def namespace_options(
    spec: core.PodSpec, user: cri.UserNamespace | None = None
) -> cri.NamespaceOption:
    """`user` is the pod's own user namespace; without it, the node's."""
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
        userns_options=user or cri.UserNamespace(mode=cri.NODE),
    )


def sandbox_security(
    spec: core.PodSpec, seccomp: SeccompSettings, user: cri.UserNamespace | None = None
) -> cri.LinuxSandboxSecurityContext:
    context = spec.security_context or core.PodSecurityContext()
    message = cri.LinuxSandboxSecurityContext(
        namespace_options=namespace_options(spec, user),
        privileged=any(is_privileged(c) for c in (*spec.init_containers, *spec.containers)),
        seccomp=_seccomp(context.seccomp_profile, seccomp),
        supplemental_groups=_groups(context),
        supplemental_groups_policy=_groups_policy(context),
        selinux_options=_selinux(context.se_linux_options),
    )
    if context.run_as_user is not None:
        message.run_as_user.value = context.run_as_user
        # The CRI refuses a sandbox that has a group and no user.
        if context.run_as_group is not None:
            message.run_as_group.value = context.run_as_group
    return message


def container_security(
    spec: core.PodSpec,
    container: core.Container,
    seccomp: SeccompSettings,
    user: cri.UserNamespace | None = None,
) -> cri.LinuxContainerSecurityContext:
    """The container's own settings win over the pod's. Raises ConfigError."""
    pod = spec.security_context or core.PodSecurityContext()
    own = container.security_context or core.SecurityContext()
    privileged = bool(own.privileged)
    message = cri.LinuxContainerSecurityContext(
        privileged=privileged,
        namespace_options=namespace_options(spec, user),
        readonly_rootfs=bool(own.read_only_root_filesystem),
        supplemental_groups=_groups(pod),
        supplemental_groups_policy=_groups_policy(pod),
        no_new_privs=own.allow_privilege_escalation is False and not privileged,
        seccomp=_seccomp(own.seccomp_profile or pod.seccomp_profile, seccomp),
        apparmor=_apparmor(own.app_armor_profile or pod.app_armor_profile),
        selinux_options=_selinux(own.se_linux_options or pod.se_linux_options),
    )
    if own.capabilities:
        message.capabilities.add_capabilities.extend(own.capabilities.add)
        message.capabilities.drop_capabilities.extend(own.capabilities.drop)
    if own.proc_mount == "Unmasked":
        # The node's /proc/sys would be the container's to write.
        if spec.host_users is not False:
            raise ConfigError("`hostUsers` must be false to use `Unmasked`")
    elif not privileged:
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


def _groups_policy(context: core.PodSecurityContext) -> cri.SupplementalGroupsPolicy.ValueType:
    return cri.Strict if context.supplemental_groups_policy == "Strict" else cri.Merge


def _seccomp(profile: core.SeccompProfile | None, settings: SeccompSettings) -> cri.SecurityProfile:
    """Unconfined unless asked for, as upstream without --seccomp-default."""
    kind = profile.type if profile else "RuntimeDefault" if settings.by_default else "Unconfined"
    if kind == "RuntimeDefault":
        return cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)
    if kind == "Localhost" and profile is not None:
        path = _profile_path(settings.root, profile.localhost_profile)
        return cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref=path)
    if kind != "Unconfined":
        raise ConfigError(f'invalid seccomp profile type "{kind}"')
    return cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined)


def _profile_path(root: str, name: str) -> str:
    """Below the kubelet's directory of profiles, and never out of it."""
    if not name:
        raise ConfigError("localhostProfile must be set if seccompProfile type is Localhost.")
    path = posixpath.normpath(posixpath.join(root, name))
    if name.startswith("/") or ".." in name.split("/") or not path.startswith(root + "/"):
        raise ConfigError(f'seccomp localhostProfile "{name}" must be a descending relative path')
    return path


def _apparmor(profile: core.AppArmorProfile | None) -> cri.SecurityProfile:
    """Unconfined unless asked for. Where the kernel has no AppArmor, admission refused already."""
    if profile is None or profile.type == "Unconfined":
        return cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined)
    if profile.type == "RuntimeDefault":
        return cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)
    return cri.SecurityProfile(
        profile_type=cri.SecurityProfile.Localhost, localhost_ref=profile.localhost_profile
    )


def _selinux(options: core.SELinuxOptions | None) -> cri.SELinuxOption | None:
    if options is None:
        return None
    return cri.SELinuxOption(
        user=options.user, role=options.role, type=options.type, level=options.level
    )


def verify_non_root(pod: core.Pod, container: core.Container, image: cri.Image) -> None:
    """`runAsNonRoot`: refuse a container that would run as uid 0, or as an unknown name."""
    shared = pod.spec.security_context or core.PodSecurityContext()
    own = container.security_context or core.SecurityContext()
    wanted = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    if not wanted:
        return
    user = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    meta = pod.metadata
    where = f'(pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {container.name})'
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
