"""Which objects a pod refers to by name (upstream's VisitPodSecretNames and its kin). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from kube.api.core import EnvFromSource, EnvVar, Pod, Volume

Reference = tuple[str, str]  # plural, name


def references(pod: Pod) -> set[Reference]:
    """The Secrets and ConfigMaps that the pod's kubelet has to read."""
    return {found for found in _every(pod) if found[1]}


def refers_to(pod: Pod, plural: str) -> bool:
    return any(found[0] == plural for found in references(pod))


def _every(pod: Pod) -> Iterator[Reference]:
    spec = pod.spec
    for secret in spec.image_pull_secrets:
        yield "secrets", secret.name
    for volume in spec.volumes:
        yield from _volume(volume)
    for container in (*spec.containers, *spec.init_containers):
        yield from _environment(container.env, container.env_from)
    for added in spec.ephemeral_containers:
        yield from _environment(added.env, added.env_from)


def _volume(volume: Volume) -> Iterator[Reference]:
    if volume.secret:
        yield "secrets", volume.secret.secret_name
    if volume.config_map:
        yield "configmaps", volume.config_map.name
    if volume.azure_file:
        yield "secrets", volume.azure_file.secret_name
    if volume.csi and volume.csi.node_publish_secret_ref:
        yield "secrets", volume.csi.node_publish_secret_ref.name
    for source in (
        volume.cephfs, volume.cinder, volume.flex_volume, volume.iscsi, volume.rbd,
        volume.scale_io, volume.storageos,
    ):  # fmt: skip
        if source and source.secret_ref:
            yield "secrets", source.secret_ref.name
    for projection in volume.projected.sources if volume.projected else ():
        if projection.secret:
            yield "secrets", projection.secret.name
        if projection.config_map:
            yield "configmaps", projection.config_map.name


def _environment(
    env: tuple[EnvVar, ...], env_from: tuple[EnvFromSource, ...]
) -> Iterator[Reference]:
    for source in env_from:
        if source.secret_ref:
            yield "secrets", source.secret_ref.name
        if source.config_map_ref:
            yield "configmaps", source.config_map_ref.name
    for variable in env:
        value = variable.value_from
        if value and value.secret_key_ref:
            yield "secrets", value.secret_key_ref.name
        if value and value.config_map_key_ref:
            yield "configmaps", value.config_map_key_ref.name
