"""CRI's container config to an OCI runtime spec (`config.json`). Pure: no file is read here.

Whatever depends on the node or the image comes in as a value: `NodeFacts`, the image's config,
the accounts of its root file system, the paths of the pod's pinned namespaces.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import InvalidArgument
from worker.runtime.oci import capabilities
from worker.runtime.oci.resources import NodeFacts, linux_resources, oom_score_adj
from worker.runtime.oci.users import Identity

OCI_VERSION = "1.0.2"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PROPAGATION = {
    cri.PROPAGATION_PRIVATE: "rprivate",
    cri.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    cri.PROPAGATION_BIDIRECTIONAL: "rshared",
}


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an OCI image config that decides how its containers run."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A device node as found on this machine."""

    path: str
    type: str  # "c" or "b"
    major: int
    minor: int
    mode: int
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Files of the sandbox that are mounted into each of its containers."""

    resolv_conf: str
    hostname: str
    shm: str


@dataclass(frozen=True, slots=True)
class SpecInputs:
    container_id: str
    config: cri.ContainerConfig
    image: ImageConfig
    identity: Identity
    rootfs: str
    cgroups_path: str
    # OCI namespace type to path; "" makes a new one; a missing type shares the machine's.
    namespaces: Mapping[str, str]
    pod_files: PodFiles
    hostname: str
    facts: NodeFacts
    devices: Sequence[Device] = ()
    seccomp: Mapping[str, Any] | None = None
    apparmor: str = ""
    selinux: str = ""
    # The ids of the pod's user namespace; None where it has the machine's.
    ids: cri.IDMapping | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


def process_args(config: cri.ContainerConfig, image: ImageConfig) -> list[str]:
    """Kubernetes' table: `command` replaces the entrypoint and drops the image's cmd."""
    if config.command:
        return [*config.command, *config.args]
    args = [*image.entrypoint, *(config.args or image.cmd)]
    if not args:
        raise InvalidArgument(
            f'container "{config.metadata.name}": neither the container nor its image says '
            "which command to run"
        )
    return args


def environment(config: cri.ContainerConfig, image: ImageConfig, hostname: str) -> list[str]:
    """PATH and HOSTNAME, overridden by the image's env, overridden by the container's."""
    env: dict[str, str] = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if config.tty:
        env["TERM"] = "xterm"
    for entry in image.env:
        key, _, value = entry.partition("=")
        env[key] = value
    for pair in config.envs:
        env[pair.key] = pair.value
    return [f"{key}={value}" for key, value in env.items()]


def container_spec(inputs: SpecInputs) -> dict[str, Any]:
    """The whole `config.json`."""
    config, security = inputs.config, inputs.config.linux.security_context
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": process(inputs),
        "root": {"path": inputs.rootfs, "readonly": security.readonly_rootfs},
        "mounts": mounts(inputs),
        "linux": _linux(inputs),
        "annotations": dict(sorted(inputs.annotations.items())),
    }
    if "uts" in inputs.namespaces and not inputs.namespaces["uts"]:
        spec["hostname"] = inputs.hostname
    if config.metadata.name == "":
        raise InvalidArgument("the container has no name")
    return spec


def process(inputs: SpecInputs) -> dict[str, Any]:
    config, image, who = inputs.config, inputs.image, inputs.identity
    security = config.linux.security_context
    env = environment(config, image, inputs.hostname)
    if not any(entry.startswith("HOME=") for entry in env):
        env.append(f"HOME={who.home}")
    result: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.additional_gids)},
        "args": process_args(config, image),
        "env": env,
        "cwd": config.working_dir or image.working_dir or "/",
        "capabilities": capabilities.container_sets(
            security.capabilities,
            privileged=security.privileged,
            available=inputs.facts.capabilities,
            root=who.uid == 0,
        ),
        "noNewPrivileges": security.no_new_privs,
        "oomScoreAdj": oom_score_adj(config.linux.resources.oom_score_adj, inputs.facts),
    }
    if inputs.facts.open_files is not None:
        soft, hard = inputs.facts.open_files
        result["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}]
    if inputs.apparmor:
        result["apparmorProfile"] = inputs.apparmor
    if inputs.selinux:
        result["selinuxLabel"] = inputs.selinux
    return result


def exec_process(process_spec: Mapping[str, Any], command: Sequence[str], *, tty: bool) -> Any:
    """The process document for a command beside the container's own process."""
    env = [entry for entry in process_spec["env"] if not entry.startswith("TERM=")]
    if tty:
        env.append("TERM=xterm")
    return {**process_spec, "args": list(command), "terminal": tty, "env": env}


def _linux(inputs: SpecInputs) -> dict[str, Any]:
    config, security = inputs.config, inputs.config.linux.security_context
    resources = linux_resources(config.linux.resources, inputs.facts)
    resources["devices"] = _device_rules(inputs)
    linux: dict[str, Any] = {
        "cgroupsPath": inputs.cgroups_path,
        "namespaces": [
            {"type": kind, "path": path} if path else {"type": kind}
            for kind, path in inputs.namespaces.items()
        ],
        "resources": resources,
        "devices": [_device_node(device) for device in inputs.devices],
    }
    if not security.privileged:
        # As the client says, none for procMount Unmasked: filling them in would refuse silently.
        linux["maskedPaths"] = list(security.masked_paths)
        linux["readonlyPaths"] = list(security.readonly_paths)
    if inputs.ids is not None:
        # The namespace has them already; runc wants to be told them beside its path.
        ids = {"containerID": inputs.ids.container_id, "hostID": inputs.ids.host_id}
        linux["uidMappings"] = linux["gidMappings"] = [{**ids, "size": inputs.ids.length}]
    if inputs.seccomp is not None:
        linux["seccomp"] = dict(inputs.seccomp)
    if any(m.propagation == cri.PROPAGATION_BIDIRECTIONAL for m in config.mounts):
        linux["rootfsPropagation"] = "rshared"
    elif any(m.propagation == cri.PROPAGATION_HOST_TO_CONTAINER for m in config.mounts):
        linux["rootfsPropagation"] = "rslave"
    return linux


def _device_rules(inputs: SpecInputs) -> list[dict[str, Any]]:
    """Deny all, then what was asked for; the OCI runtime itself allows null, zero, tty, …"""
    if inputs.config.linux.security_context.privileged:
        return _all_devices(inputs.facts)
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for d in inputs.devices:
        rules.append(
            {"allow": True, "type": d.type, "major": d.major, "minor": d.minor}
            | {"access": d.permissions}
        )
    return rules


def _all_devices(facts: NodeFacts) -> list[dict[str, Any]]:
    """All that the machine has: "all" without exception may be said only where nothing is kept
    from the machine itself, which a machine in a cgroup of its host is not."""
    if not facts.devices:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for rule in facts.devices:
        numbers = {"major": rule.major, "minor": rule.minor}
        known = {name: number for name, number in numbers.items() if number is not None}
        rules.append({"allow": True, "type": rule.type, "access": rule.access} | known)
    return rules


def _device_node(device: Device) -> dict[str, Any]:
    return {
        "path": device.path,
        "type": device.type,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": 0,
        "gid": 0,
    }


def mounts(inputs: SpecInputs) -> list[dict[str, Any]]:
    """The kernel file systems, the pod's files, then the container's own volumes.

    A volume takes the place of a standard mount at the same path; parents come before children.
    """
    config = inputs.config
    own = {posixpath.normpath(m.container_path): m for m in config.mounts}
    standard = [*_kernel_mounts(inputs), *_pod_mounts(inputs.pod_files)]
    result = [m for m in standard if m["destination"] not in own]
    for path in sorted(own, key=lambda p: (p.count("/"), p)):
        result.append(_volume(path, own[path]))
    return result


def _kernel_mounts(inputs: SpecInputs) -> list[dict[str, Any]]:
    privileged = inputs.config.linux.security_context.privileged
    access = "rw" if privileged else "ro"
    guarded = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", "proc", guarded),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts",
               ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", guarded),
        _mount("/sys", "sysfs", "sysfs", [*guarded, access]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*guarded, "relatime", access]),
    ]  # fmt: skip


def _pod_mounts(files: PodFiles) -> list[dict[str, Any]]:
    return [
        _mount("/dev/shm", "bind", files.shm, ["rbind", "nosuid", "nodev", "noexec", "rw"]),  # noqa: S108 - a container's path
        _mount("/etc/resolv.conf", "bind", files.resolv_conf, ["rbind", "rprivate", "rw"]),
        _mount("/etc/hostname", "bind", files.hostname, ["rbind", "rprivate", "rw"]),
    ]


def _volume(path: str, mount: cri.Mount) -> dict[str, Any]:
    options = ["rbind", _PROPAGATION[mount.propagation], "ro" if mount.readonly else "rw"]
    return _mount(path, "bind", mount.host_path, options)


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}
