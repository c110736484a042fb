"""Validation of security contexts (ValidatePodSecurityContext, ValidateSecurityContext). Pure."""

from __future__ import annotations

import re

from kube.api.core import AppArmorProfile, PodSpec, SeccompProfile, SecurityContext
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats

Causes = list[StatusCause]
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL_TEXT = (
    "must have at most 253 characters and match regex "
    "([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
)
# One segment; the whole is cut at its separators, so that the match takes linear time.
_SYSCTL_PART = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_MAX_PROFILE_PATH = 4095


def validate_pod_security(spec: PodSpec, path: str) -> Causes:
    context = spec.security_context
    if context is None:
        return []
    path = f"{path}.securityContext"
    causes = formats.user_id(f"{path}.runAsUser", context.run_as_user)
    causes += formats.user_id(f"{path}.runAsGroup", context.run_as_group)
    causes += formats.user_id(f"{path}.fsGroup", context.fs_group)
    for index, group in enumerate(context.supplemental_groups):
        causes += formats.user_id(f"{path}.supplementalGroups[{index}]", group)
    causes += _choice(
        f"{path}.fsGroupChangePolicy", context.fs_group_change_policy, ("Always", "OnRootMismatch")
    )
    causes += _choice(
        f"{path}.supplementalGroupsPolicy", context.supplemental_groups_policy, ("Merge", "Strict")
    )
    causes += _seccomp(context.seccomp_profile, f"{path}.seccompProfile")
    causes += _apparmor(context.app_armor_profile, f"{path}.appArmorProfile")
    return causes + _sysctls(spec, f"{path}.sysctls")


def _sysctls(spec: PodSpec, path: str) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    assert spec.security_context is not None
    for index, sysctl in enumerate(spec.security_context.sysctls):
        here = f"{path}[{index}].name"
        if not sysctl.name:
            causes.append(field.required(here))
        elif not is_sysctl_name(sysctl.name):
            causes.append(field.invalid(here, sysctl.name, _SYSCTL_TEXT))
        elif sysctl.name in seen:
            causes.append(field.duplicate(here, sysctl.name))
        causes += formats.one_line(f"{path}[{index}].value", sysctl.value)
        causes += _host_sysctl(spec, here, sysctl.name)
        seen.add(sysctl.name)
    return causes


def is_sysctl_name(name: str) -> bool:
    if len(name) > 253:
        return False
    return all(_SYSCTL_PART.fullmatch(part) for part in re.split(r"[./]", name))


def _host_sysctl(spec: PodSpec, path: str, name: str) -> Causes:
    """What a pod shares with the host it may not set."""
    dotted = name.replace("/", ".")
    ipc = dotted.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."))
    if spec.host_network and dotted.startswith("net."):
        return [field.invalid(path, name, "may not be specified when 'hostNetwork' is true")]
    if spec.host_ipc and ipc:
        return [field.invalid(path, name, "may not be specified when 'hostIPC' is true")]
    return []


def _seccomp(profile: SeccompProfile | None, path: str) -> Causes:
    if profile is None:
        return []
    if profile.type not in _PROFILES:
        return [_choice_or_required(f"{path}.type", profile.type)]
    if profile.type != "Localhost":
        if profile.localhost_profile:
            text = "can only be set when type is Localhost"
            return [field.invalid(f"{path}.localhostProfile", profile.localhost_profile, text)]
        return []
    if not profile.localhost_profile:
        return [field.required(f"{path}.localhostProfile", "must be set when type is Localhost")]
    return formats.descending(f"{path}.localhostProfile", profile.localhost_profile)


def _apparmor(profile: AppArmorProfile | None, path: str) -> Causes:
    if profile is None:
        return []
    if profile.type not in _PROFILES:
        return [_choice_or_required(f"{path}.type", profile.type)]
    name, path = profile.localhost_profile, f"{path}.localhostProfile"
    if profile.type != "Localhost":
        text = "can only be set when type is Localhost"
        return [field.invalid(path, name, text)] if name else []
    if not name.strip():
        return [field.required(path, "must be set when type is Localhost")]
    if name != name.strip():
        return [field.invalid(path, name, "must not be padded with whitespace")]
    if len(name) > _MAX_PROFILE_PATH:
        return [field.too_long(path, _MAX_PROFILE_PATH)]
    return formats.one_line(path, name)


def _choice_or_required(path: str, value: str) -> StatusCause:
    return field.not_supported(path, value, _PROFILES) if value else field.required(path)


def _choice(path: str, value: str, choices: tuple[str, ...]) -> Causes:
    return [field.not_supported(path, value, choices)] if value and value not in choices else []


def validate_container_security(context: SecurityContext | None, path: str) -> Causes:
    if context is None:
        return []
    path = f"{path}.securityContext"
    causes = formats.user_id(f"{path}.runAsUser", context.run_as_user)
    causes += formats.user_id(f"{path}.runAsGroup", context.run_as_group)
    causes += _choice(f"{path}.procMount", context.proc_mount, ("Default", "Unmasked"))
    causes += _seccomp(context.seccomp_profile, f"{path}.seccompProfile")
    causes += _apparmor(context.app_armor_profile, f"{path}.appArmorProfile")
    added = context.capabilities.add if context.capabilities else ()
    for index, name in enumerate(added):
        causes += formats.one_line(f"{path}.capabilities.add[{index}]", name)
    if context.allow_privilege_escalation is False:
        if context.privileged:
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            causes.append(field.invalid(path, {}, text))
        if {"CAP_SYS_ADMIN", "SYS_ADMIN"} & set(added):
            text = (
                "cannot set `allowPrivilegeEscalation` to false and "
                "`capabilities.Add` CAP_SYS_ADMIN"
            )
            causes.append(field.invalid(path, {}, text))
    return causes
