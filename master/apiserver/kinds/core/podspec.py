"""Defaults of a PodSpec, alone or in a template (pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec.structs import replace

from kube.api.core import (
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    EnvVar,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    PodSecurityContext,
    PodSpec,
    Probe,
    ResourceRequirements,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from kube.machinery.images import default_pull_policy
from master.apiserver.registry.validation.counts import too_many_parts

FILE_MODE = 0o644
S = TypeVar("S", bound=msgspec.Struct)


def default_pod_spec(spec: PodSpec) -> PodSpec:
    """Fill in what upstream fills in for every PodSpec. Idempotent."""
    if too_many_parts(spec):
        return spec  # validation says so, at once
    return replace(
        spec,
        restart_policy=spec.restart_policy or "Always",
        dns_policy=spec.dns_policy or "ClusterFirst",
        scheduler_name=spec.scheduler_name or "default-scheduler",
        security_context=spec.security_context or PodSecurityContext(),
        service_account=spec.service_account_name or spec.service_account,
        service_account_name=spec.service_account_name or spec.service_account,
        termination_grace_period_seconds=(
            30
            if spec.termination_grace_period_seconds is None
            else spec.termination_grace_period_seconds
        ),
        containers=tuple(_container(c, bool(spec.host_network)) for c in spec.containers),
        init_containers=tuple(_container(c, bool(spec.host_network)) for c in spec.init_containers),
        volumes=tuple(_volume(volume) for volume in spec.volumes),
    )


def _container(container: Container, host_network: bool) -> Container:
    return replace(
        container,
        image_pull_policy=container.image_pull_policy or default_pull_policy(container.image),
        termination_message_path=container.termination_message_path or "/dev/termination-log",
        termination_message_policy=container.termination_message_policy or "File",
        resources=container.resources or ResourceRequirements(),
        ports=tuple(_port(port, host_network) for port in container.ports),
        env=tuple(_env(env) for env in container.env),
        liveness_probe=_probe(container.liveness_probe),
        readiness_probe=_probe(container.readiness_probe),
        startup_probe=_probe(container.startup_probe),
        lifecycle=_lifecycle(container.lifecycle),
    )


def _port(port: ContainerPort, host_network: bool) -> ContainerPort:
    host_port = port.host_port or (port.container_port if host_network else None)
    return replace(port, protocol=port.protocol or "TCP", host_port=host_port)


def _env(env: EnvVar) -> EnvVar:
    if env.value_from is None or env.value_from.field_ref is None:
        return env
    ref = replace(
        env.value_from.field_ref, api_version=env.value_from.field_ref.api_version or "v1"
    )
    return replace(env, value_from=replace(env.value_from, field_ref=ref))


def _probe(probe: Probe | None) -> Probe | None:
    if probe is None:
        return None
    return replace(
        probe,
        timeout_seconds=probe.timeout_seconds or 1,
        period_seconds=probe.period_seconds or 10,
        success_threshold=probe.success_threshold or 1,
        failure_threshold=probe.failure_threshold or 3,
        http_get=_http_get(probe.http_get),
    )


def _http_get(action: HTTPGetAction | None) -> HTTPGetAction | None:
    if action is None:
        return None
    return replace(action, path=action.path or "/", scheme=action.scheme or "HTTP")


def _lifecycle(lifecycle: Lifecycle | None) -> Lifecycle | None:
    if lifecycle is None:
        return None
    return replace(
        lifecycle,
        post_start=_handler(lifecycle.post_start),
        pre_stop=_handler(lifecycle.pre_stop),
    )


def _handler(handler: LifecycleHandler | None) -> LifecycleHandler | None:
    if handler is None:
        return None
    return replace(handler, http_get=_http_get(handler.http_get))


def _volume(volume: Volume) -> Volume:
    # A volume with only a name is an emptyDir.
    if msgspec.to_builtins(volume).keys() <= {"name"}:
        return replace(volume, empty_dir=EmptyDirVolumeSource())
    changed: dict[str, msgspec.Struct] = {}
    for field in ("secret", "config_map", "downward_api", "projected"):
        source = getattr(volume, field)
        if source is not None and source.default_mode is None:
            changed[field] = replace(source, default_mode=FILE_MODE)
    volume = replace(volume, **changed) if changed else volume
    if volume.projected:
        sources = tuple(_projection(source) for source in volume.projected.sources)
        volume = replace(volume, projected=replace(volume.projected, sources=sources))
    return volume


def _projection(projection: VolumeProjection) -> VolumeProjection:
    token: ServiceAccountTokenProjection | None = projection.service_account_token
    if token is None or token.expiration_seconds is not None:
        return projection
    return replace(projection, service_account_token=replace(token, expiration_seconds=3600))
