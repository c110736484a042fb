"""The files of configMap, secret, downwardAPI and projected volumes, as values. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from kube.api import core
from worker.kubelet.pod.env import Sources
from worker.kubelet.pod.fieldpath import FieldError, field_value, resource_value

DEFAULT_MODE = 0o644


class VolumeError(Exception):
    """A volume cannot be set up (yet): event FailedMount, and another try later."""


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int


Payload = dict[str, File]


def is_projection(volume: core.Volume) -> bool:
    return bool(volume.config_map or volume.secret or volume.downward_api or volume.projected)


def payload(pod: core.Pod, volume: core.Volume, sources: Sources) -> Payload:
    """Path inside the volume -> file."""
    result: Payload = {}
    for projection, default in _projections(volume):
        result.update(_project(pod, volume, projection, default, sources))
    for path in result:
        _check(volume, path)
    return result


def _projections(volume: core.Volume) -> Iterable[tuple[core.VolumeProjection, int]]:
    """Every kind as upstream's projected volume has it, with the volume's default mode."""
    if source := volume.config_map:
        config_map = core.ConfigMapProjection(
            name=source.name, items=source.items, optional=source.optional
        )
        yield core.VolumeProjection(config_map=config_map), _mode(source.default_mode)
    elif secret := volume.secret:
        projection = core.SecretProjection(
            name=secret.secret_name, items=secret.items, optional=secret.optional
        )
        yield core.VolumeProjection(secret=projection), _mode(secret.default_mode)
    elif downward := volume.downward_api:
        files = core.DownwardAPIProjection(items=downward.items)
        yield core.VolumeProjection(downward_api=files), _mode(downward.default_mode)
    elif projected := volume.projected:
        for item in projected.sources:
            yield item, _mode(projected.default_mode)


def _mode(mode: int | None) -> int:
    return DEFAULT_MODE if mode is None else mode


def _project(
    pod: core.Pod,
    volume: core.Volume,
    projection: core.VolumeProjection,
    default: int,
    sources: Sources,
) -> Payload:
    if item := projection.config_map:
        config_map = sources.config_maps.get(item.name)
        if config_map is None and not item.optional:
            raise VolumeError(f'configmap "{item.name}" not found')
        data = _config_map_data(config_map) if config_map else {}
        return _select(data, item.items, default, bool(item.optional), f"configmap {item.name}")
    if secret := projection.secret:
        found = sources.secrets.get(secret.name)
        if found is None and not secret.optional:
            raise VolumeError(f'secret "{secret.name}" not found')
        data = {k: base64.b64decode(v) for k, v in found.data.items()} if found else {}
        return _select(data, secret.items, default, bool(secret.optional), f"secret {secret.name}")
    if downward := projection.downward_api:
        return _downward(pod, downward.items, default, sources)
    raise VolumeError(f'volume "{volume.name}" uses a projection that this kubelet lacks')


def _config_map_data(config_map: core.ConfigMap) -> dict[str, bytes]:
    binary = {key: base64.b64decode(value) for key, value in config_map.binary_data.items()}
    return {**{key: value.encode() for key, value in config_map.data.items()}, **binary}


def _select(
    data: Mapping[str, bytes],
    items: Iterable[core.KeyToPath],
    default: int,
    optional: bool,
    what: str,
) -> Payload:
    """All keys under their own names, or just the items, under the given paths."""
    chosen = tuple(items)
    if not chosen:
        return {key: File(content, default) for key, content in data.items()}
    result: Payload = {}
    for item in chosen:
        if item.key in data:
            mode = default if item.mode is None else item.mode
            result[item.path] = File(data[item.key], mode)
        elif not optional:
            raise VolumeError(f"references non-existent config key: {item.key} in {what}")
    return result


def _downward(
    pod: core.Pod, items: Iterable[core.DownwardAPIVolumeFile], default: int, sources: Sources
) -> Payload:
    result: Payload = {}
    for item in items:
        try:
            if item.field_ref:
                text = field_value(pod, item.field_ref.field_path)
            elif item.resource_field_ref:
                text = resource_value(
                    pod, core.Container(), item.resource_field_ref, sources.allocatable
                )
            else:
                continue
        except FieldError as error:
            raise VolumeError(str(error)) from error
        result[item.path] = File(text.encode(), default if item.mode is None else item.mode)
    return result


def _check(volume: core.Volume, path: str) -> None:
    """A path stays inside the volume and does not touch the writer's own names."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise VolumeError(f'volume "{volume.name}": invalid path "{path}"')


def volume_names(pod: core.Pod) -> tuple[set[str], set[str]]:
    """The configMaps and secrets that the pod's volumes refer to."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for volume in pod.spec.volumes:
        for projection, _ in _projections(volume):
            if projection.config_map:
                config_maps.add(projection.config_map.name)
            if projection.secret:
                secrets.add(projection.secret.name)
    return config_maps, secrets
