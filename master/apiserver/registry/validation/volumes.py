"""Validation of volumes and of what is mounted from them (ValidateVolumes). Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kube.api.core import (
    Container,
    DownwardAPIVolumeFile,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    KeyToPath,
    PodSpec,
    ProjectedVolumeSource,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from kube.api.meta import StatusCause
from kube.machinery import quantity
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import dns_label
from master.apiserver.registry.validation.sources import (
    VOLUME_FIELDS,
    config_key,
    field_ref,
    resource_ref,
)

Causes = list[StatusCause]
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate",
    "Socket",
)  # fmt: skip
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE = ("Disabled", "Enabled", "IfPossible")
_TEN_MINUTES, _MAX_TOKEN_SECONDS = 600, 1 << 32


def validate_volumes(spec: PodSpec, path: str, causes: Causes) -> set[str]:
    """The names of the volumes; what is wrong goes to `causes`."""
    names: set[str] = set()
    for index, volume in enumerate(spec.volumes):
        here = f"{path}.volumes[{index}]"
        if not volume.name:
            causes.append(field.required(f"{here}.name"))
        elif why := dns_label(volume.name):
            causes.append(field.invalid(f"{here}.name", volume.name, why))
        if volume.name in names:
            causes.append(field.duplicate(f"{here}.name", volume.name))
        names.add(volume.name)
        sources = [name for name in msgspec.to_builtins(volume) if name != "name"]
        for extra in sources[1:]:
            causes.append(
                field.forbidden(f"{here}.{extra}", "may not specify more than 1 volume type")
            )
        causes += _source(volume, here)
    return names


def validate_host_path(host: HostPathVolumeSource, path: str) -> Causes:
    causes = formats.no_backsteps(f"{path}.path", host.path)
    if not host.path:
        causes.append(field.required(f"{path}.path"))
    if host.type not in _HOST_PATH_TYPES:
        causes.append(field.not_supported(f"{path}.type", host.type, _HOST_PATH_TYPES))
    return causes


def _source(volume: Volume, path: str) -> Causes:
    causes: Causes = []
    if volume.host_path:
        causes += validate_host_path(volume.host_path, f"{path}.hostPath")
    if secret := volume.secret:
        if not secret.secret_name:
            causes.append(field.required(f"{path}.secret.secretName"))
        causes += formats.mode(f"{path}.secret.defaultMode", secret.default_mode)
        causes += _items(secret.items, f"{path}.secret.items")
    if config := volume.config_map:
        if not config.name:
            causes.append(field.required(f"{path}.configMap.name"))
        causes += formats.mode(f"{path}.configMap.defaultMode", config.default_mode)
        causes += _items(config.items, f"{path}.configMap.items")
    if downward := volume.downward_api:
        causes += formats.mode(f"{path}.downwardAPI.defaultMode", downward.default_mode)
        causes += _files(downward.items, f"{path}.downwardAPI.items")
    if volume.projected:
        causes += _projected(volume.projected, f"{path}.projected")
    if volume.empty_dir:
        causes += _empty_dir(volume.empty_dir, f"{path}.emptyDir")
    return causes


def _items(items: Sequence[KeyToPath], path: str) -> Causes:
    causes: Causes = []
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        causes += config_key(f"{here}.key", item.key)
        causes += _file(item.path, f"{here}.path")
        causes += formats.mode(f"{here}.mode", item.mode)
    return causes


def _file(name: str, path: str) -> Causes:
    return formats.not_reserved(path, name) if name else [field.required(path)]


def _files(items: Sequence[DownwardAPIVolumeFile], path: str) -> Causes:
    causes: Causes = []
    for index, item in enumerate(items):
        here = f"{path}[{index}]"
        causes += _file(item.path, f"{here}.path")
        causes += formats.mode(f"{here}.mode", item.mode)
        if item.field_ref and item.resource_field_ref:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            causes.append(field.invalid(here, "resource", text))
        elif item.field_ref:
            causes += field_ref(item.field_ref, f"{here}.fieldRef", VOLUME_FIELDS)
        elif item.resource_field_ref:
            causes += resource_ref(
                item.resource_field_ref, f"{here}.resourceFieldRef", in_volume=True
            )
        else:
            causes.append(field.required(here, "one of fieldRef and resourceFieldRef is required"))
    return causes


def _projected(projected: ProjectedVolumeSource, path: str) -> Causes:
    causes = formats.mode(f"{path}.defaultMode", projected.default_mode)
    seen: set[str] = set()
    for index, source in enumerate(projected.sources):
        here = f"{path}.sources[{index}]"
        given = [name for name, value in msgspec.to_builtins(source).items() if value is not None]
        if len(given) > 1:
            causes.append(field.forbidden(here, "may not specify more than 1 volume type"))
        causes += _projection(source, here)
        for name in _paths(source):
            if name in seen:
                causes.append(field.invalid(here, name, "conflicting duplicate paths"))
            seen.add(name)
    return causes


def _projection(source: VolumeProjection, path: str) -> Causes:
    causes: Causes = []
    for name, part in (("secret", source.secret), ("configMap", source.config_map)):
        if part is not None:
            if not part.name:
                causes.append(field.required(f"{path}.{name}.name"))
            causes += _items(part.items, f"{path}.{name}.items")
    if source.downward_api:
        causes += _files(source.downward_api.items, f"{path}.downwardAPI.items")
    if token := source.service_account_token:
        here = f"{path}.serviceAccountToken"
        seconds = token.expiration_seconds
        if seconds is not None and seconds < _TEN_MINUTES:
            text = "may not specify a duration less than 10 minutes"
            causes.append(field.invalid(f"{here}.expirationSeconds", seconds, text))
        elif seconds is not None and seconds > _MAX_TOKEN_SECONDS:
            text = "may not specify a duration larger than 2^32 seconds"
            causes.append(field.invalid(f"{here}.expirationSeconds", seconds, text))
        causes += _file(token.path, f"{here}.path")
    return causes


def _paths(source: VolumeProjection) -> list[str]:
    found = [
        item.path for part in (source.secret, source.config_map) if part for item in part.items
    ]
    found += [item.path for item in (source.downward_api.items if source.downward_api else ())]
    if source.service_account_token:
        found.append(source.service_account_token.path)
    return [path for path in found if path]


def _empty_dir(source: EmptyDirVolumeSource, path: str) -> Causes:
    causes = formats.one_line(f"{path}.medium", source.medium)
    if not source.size_limit:
        return causes
    try:
        negative = quantity.parse(source.size_limit) < 0
    except ValueError as error:
        return [*causes, field.invalid(f"{path}.sizeLimit", source.size_limit, str(error))]
    if negative:
        text = "SizeLimit field must be a valid resource quantity"
        causes.append(field.forbidden(f"{path}.sizeLimit", text))
    return causes


def validate_mounts(container: Container, path: str, volumes: set[str]) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    privileged = bool(container.security_context and container.security_context.privileged)
    for index, mount in enumerate(container.volume_mounts):
        here = f"{path}.volumeMounts[{index}]"
        if not mount.name:
            causes.append(field.required(f"{here}.name"))
        elif mount.name not in volumes:
            causes.append(field.not_found(f"{here}.name", mount.name))
        if not mount.mount_path:
            causes.append(field.required(f"{here}.mountPath"))
        elif mount.mount_path in seen:
            causes.append(field.invalid(f"{here}.mountPath", mount.mount_path, "must be unique"))
        seen.add(mount.mount_path)
        causes += formats.no_nul(f"{here}.mountPath", mount.mount_path)
        causes += _sub_path(mount, here)
        causes += _propagation(mount, here, privileged=privileged)
    return causes


def _sub_path(mount: VolumeMount, path: str) -> Causes:
    causes: Causes = []
    if mount.sub_path and mount.sub_path_expr:
        text = "subPathExpr and subPath are mutually exclusive"
        causes.append(field.invalid(f"{path}.subPathExpr", mount.sub_path_expr, text))
    causes += formats.descending(f"{path}.subPath", mount.sub_path)
    return causes + formats.descending(f"{path}.subPathExpr", mount.sub_path_expr)


def _propagation(mount: VolumeMount, path: str, *, privileged: bool) -> Causes:
    causes: Causes = []
    given, recursive = mount.mount_propagation, mount.recursive_read_only
    if given and given not in _PROPAGATIONS:
        causes.append(field.not_supported(f"{path}.mountPropagation", given, _PROPAGATIONS))
    if given == "Bidirectional" and not privileged:
        text = "Bidirectional mount propagation is available only to privileged containers"
        causes.append(field.forbidden(f"{path}.mountPropagation", text))
    if recursive and recursive not in _RECURSIVE:
        causes.append(field.not_supported(f"{path}.recursiveReadOnly", recursive, _RECURSIVE))
    elif recursive in ("Enabled", "IfPossible") and not mount.read_only:
        text = "may only be specified when readOnly is true"
        causes.append(field.forbidden(f"{path}.recursiveReadOnly", text))
    return causes
